//! Where the parameters go in a notebook.

use crate::error::Result;
use crate::json::Object;
use crate::notebook::{CellKind, Notebook};

use super::translate::Translator;

/// What injecting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// There were no parameters, so nothing changed.
    Nothing,
    /// An `injected-parameters` cell from an earlier run was replaced.
    Replaced,
    /// The cell went after the `parameters` cell.
    After,
    /// No cell is tagged `parameters`; the cell went to the top.
    Top,
}

/// Puts a cell that assigns `parameters` where papermill puts it.
///
/// # Errors
/// When a value cannot be written in the notebook's language.
pub fn inject(notebook: &mut Notebook, translator: &Translator, parameters: &Object) -> Result<Injection> {
    if parameters.is_empty() {
        return Ok(Injection::Nothing);
    }
    let source = translator.cell(parameters, "Parameters")?;
    let cell = notebook.new_cell(CellKind::Code, &source, &["injected-parameters"]);
    if let Some(index) = notebook.tagged("injected-parameters") {
        if let Some(cells) = notebook.cells_mut() {
            cells.remove(index);
        }
        notebook.insert(index, cell);
        return Ok(Injection::Replaced);
    }
    if let Some(index) = notebook.tagged("parameters") {
        notebook.insert(index + 1, cell);
        return Ok(Injection::After);
    }
    notebook.insert(0, cell);
    Ok(Injection::Top)
}
