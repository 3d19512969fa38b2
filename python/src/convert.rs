//! Plain values across the border: JSON on this side, dictionaries and lists on the other.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::error::Problem;

/// How deep parameters may be nested; no design needs half of it.
const DEEPEST: usize = 32;

/// A value as Python's plain types.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (_, Some(number)) => number.into_pyobject(py)?.into_any(),
            _ => number.as_f64().unwrap_or(f64::NAN).into_pyobject(py)?.into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(object) => {
            let dict = PyDict::new(py);
            for (key, value) in object {
                dict.set_item(key, to_python(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// Anything that can be written as JSON, as Python's plain types.
pub(crate) fn object<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let value =
        serde_json::to_value(value).map_err(|error| Problem::Bug(format!("a value that can't be shown: {error}")))?;
    to_python(py, &value)
}

/// Python's plain types as a value. `path` names the value in errors.
pub(crate) fn from_python(object: &Bound<'_, PyAny>, path: &str) -> PyResult<Value> {
    read(object, path, 0)
}

fn read(object: &Bound<'_, PyAny>, path: &str, depth: usize) -> PyResult<Value> {
    if depth > DEEPEST {
        return Err(Problem::parameter(path, "this is nested too deeply", "write plain values").into());
    }
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Value::String(text.to_str()?.to_owned()));
    }
    if let Ok(float) = object.cast::<PyFloat>() {
        let float: f64 = float.extract()?;
        return Number::from_f64(float)
            .map(Value::Number)
            .ok_or_else(|| Problem::parameter(path, &format!("{float} is not a number"), "write a number").into());
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let mut items = Vec::new();
        for (index, item) in object.try_iter()?.enumerate() {
            items.push(read(&item?, &format!("{path}[{index}]"), depth + 1)?);
        }
        return Ok(Value::Array(items));
    }
    if let Ok(mapping) = object.cast::<PyMapping>() {
        let mut map = Map::new();
        for pair in mapping.items()?.iter() {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
            let Ok(key) = key.extract::<String>() else {
                return Err(Problem::parameter(
                    path,
                    &format!("the key {} is no text", key.repr()?),
                    "write text as keys",
                )
                .into());
            };
            let inner = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            map.insert(key, read(&value, &inner, depth + 1)?);
        }
        return Ok(Value::Object(map));
    }
    // Whole numbers of any make, those of array libraries included.
    if object.is_instance_of::<PyInt>() || object.hasattr("__index__")? {
        if let Ok(number) = object.extract::<i64>() {
            return Ok(Value::from(number));
        }
        return Err(Problem::parameter(
            path,
            &format!("{} is out of range", object.str()?),
            "write a smaller number",
        )
        .into());
    }
    let kind = object.get_type().name()?.to_string();
    Err(Problem::parameter(
        path,
        &format!("a value of the Python type {kind} can't be a parameter"),
        "write text, a number, True or False, a list or a dictionary",
    )
    .into())
}
