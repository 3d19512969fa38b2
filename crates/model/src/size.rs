//! Capacities, always with a unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ExpressionError;

/// A number of bytes, written as `16 GiB` or `2 GB`. Never zero when it was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

const BINARY: [(&str, u64); 5] = [
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];
const DECIMAL: [(&str, u64); 5] = [
    ("PB", 1_000_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

impl Size {
    /// From bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// From binary megabytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// From binary gigabytes.
    pub const fn from_gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Whole binary megabytes, rounded down; what Slurm's `RealMemory` counts in.
    pub const fn mib(self) -> u64 {
        self.0 >> 20
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Exact, so that writing and reading again never changes a design: the largest unit that divides evenly, and of
        // the two families the one that needs the smaller number.
        let best = BINARY
            .iter()
            .chain(&DECIMAL)
            .filter(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .min_by_key(|(_, factor)| self.0 / factor);
        match best {
            Some((unit, factor)) => write!(formatter, "{} {unit}", self.0 / factor),
            None => write!(formatter, "{} B", self.0),
        }
    }
}

impl FromStr for Size {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let split = trimmed
            .find(|character: char| !(character.is_ascii_digit() || character == '.'))
            .unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..split], trimmed[split..].trim());
        if trimmed.starts_with('-') {
            return Err(ExpressionError::new(
                format!("'{trimmed}' is negative"),
                "write a size such as 16 GiB",
            ));
        }
        if number.is_empty() {
            return Err(ExpressionError::new(
                format!("'{trimmed}' is not a size"),
                "write a number and a unit, such as 16 GiB",
            ));
        }
        if unit.is_empty() {
            return Err(ExpressionError::new(
                format!("'{trimmed}' has no unit"),
                format!("write {number} GiB or {number} MiB"),
            ));
        }
        let factor = BINARY
            .iter()
            .chain(&DECIMAL)
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| *factor)
            .or_else(|| unit.eq_ignore_ascii_case("B").then_some(1));
        let Some(factor) = factor else {
            return Err(ExpressionError::new(
                format!("'{unit}' is not a unit of size"),
                "write one of MiB, GiB, TiB (powers of 1024) or MB, GB, TB (powers of 1000)",
            ));
        };
        let bytes = exact_product(number, factor).ok_or_else(|| {
            ExpressionError::new(
                format!("'{trimmed}' is not a whole number of bytes that we can count"),
                "write a whole number and a unit, such as 16 GiB",
            )
        })?;
        if bytes == 0 {
            return Err(ExpressionError::new(
                format!("'{trimmed}' is zero"),
                "write a size such as 16 GiB",
            ));
        }
        Ok(Self(bytes))
    }
}

/// `number * factor` in integers, because `0.1` has no exact floating-point value.
fn exact_product(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || fraction.len() > 15 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let product = digits.checked_mul(u128::from(factor))?;
    if !product.is_multiple_of(scale) {
        return None;
    }
    u64::try_from(product / scale).ok()
}

impl TryFrom<String> for Size {
    type Error = ExpressionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_shows() {
        for (text, bytes, shown) in [
            ("16 GiB", 16 << 30, "16 GiB"),
            ("2GB", 2_000_000_000, "2 GB"),
            ("512mib", 512 << 20, "512 MiB"),
            ("1.5 GiB", 3 << 29, "1536 MiB"),
            ("1024 MiB", 1 << 30, "1 GiB"),
            ("7 B", 7, "7 B"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown));
        }
    }

    #[test]
    fn says_what_to_write() {
        let messages: Vec<String> = [
            "16",
            "-1 GiB",
            "0 GiB",
            "GiB",
            "",
            "16 G",
            "1.0000001 KiB",
            "99999999 PiB",
            "1.2.3 GiB",
        ]
        .iter()
        .map(|text| {
            let error = text.parse::<Size>().unwrap_err();
            format!("{} → {}", error.message, error.help)
        })
        .collect();
        insta::assert_debug_snapshot!(messages);
    }

    proptest! {
        #[test]
        fn showing_is_exact(bytes in 1u64..) {
            let size = Size::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }
    }
}
