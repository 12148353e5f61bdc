//! How thoroughly a column is encoded: what `COMP` of a database and `ENCODE`, `COMPRESS` and `LEVEL` of a column mean here.
//!
//! There are two stages. The *light* one is ours and works on numbers and codes; the *general* one is pco or zstd on top.
//! TDengine's names choose among them: those of compressors that are not built in choose an effort of zstd.

use model::DataType;
use model::schema::Compression;

/// How the light stage encodes integers, times, truth values and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Light {
    /// Values as they are.
    Off,
    /// Whatever an estimate finds smallest.
    Any,
    /// Integers bit-packed, without differences.
    Frame,
    /// Integers as differences, or differences of these.
    Delta,
}

/// What the general stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum General {
    /// Nothing.
    Off,
    /// Only where the light stage is of little use: long text by zstd, floats that are no decimals by pco.
    Needed,
    /// zstd of this level wherever it saves something.
    Zstd(i32),
    /// Numbers by pco where it saves something.
    Pco,
    /// Whatever is smallest.
    Best,
}

/// How a column is encoded. What is encoded in one way is read as in any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coding {
    pub(crate) light: Light,
    pub(crate) general: General,
}

impl Default for Coding {
    fn default() -> Self {
        Self { light: Light::Any, general: General::Needed }
    }
}

impl Coding {
    /// For a column of a database with `COMP comp` that asks for `wanted`; `last` is the last merge of a bucket.
    #[must_use]
    pub fn of(wanted: Option<&Compression>, data_type: DataType, comp: u8, last: bool) -> Self {
        let usual = match (comp, last) {
            (0, _) => Self { light: Light::Off, general: General::Off },
            (1, _) | (_, false) => Self::default(),
            _ => Self { light: Light::Any, general: General::Best },
        };
        let Some(wanted) = wanted else { return usual };
        let light = match wanted.encode.as_deref() {
            None => usual.light,
            Some("disabled") => Light::Off,
            Some("simple8b") if is_integer(data_type) => Light::Frame,
            Some("delta-i") if is_integer(data_type) => Light::Delta,
            Some(_) => Light::Any,
        };
        let level = wanted.level.as_deref().filter(|level| *level != "disabled");
        let general = match (wanted.compress.as_deref(), level) {
            (None, None) => usual.general,
            (Some("disabled"), _) => General::Off,
            (Some("tsz"), _) => General::Pco,
            (name, level) => General::Zstd(zstd_level(name.unwrap_or("lz4"), level.unwrap_or("medium"))),
        };
        Self { light, general }
    }

    /// zstd's level for what the light stage left of numbers and truth values.
    pub(crate) fn zstd(self) -> Option<i32> {
        match self.general {
            General::Off | General::Needed | General::Pco => None,
            General::Zstd(level) => Some(level),
            General::Best => Some(3),
        }
    }

    /// zstd's level for text.
    pub(crate) fn text(self) -> Option<i32> {
        match self.general {
            General::Off => None,
            General::Needed | General::Pco => Some(1),
            General::Zstd(level) => Some(level),
            General::Best => Some(6),
        }
    }

    /// pco's level for numbers: where it is tried whatever the light stage found.
    pub(crate) fn pco(self) -> Option<usize> {
        matches!(self.general, General::Pco | General::Best).then_some(8)
    }
}

fn is_integer(data_type: DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp
            | DataType::Date
            | DataType::TinyInt
            | DataType::SmallInt
            | DataType::Int
            | DataType::BigInt
            | DataType::UTinyInt
            | DataType::USmallInt
            | DataType::UInt
            | DataType::UBigInt
    )
}

/// The level of zstd that takes about the time of the named compressor at its level.
fn zstd_level(name: &str, level: &str) -> i32 {
    let levels = match name {
        "lz4" => [-5, 1, 2],
        "zlib" => [2, 4, 7],
        "xz" => [9, 13, 19],
        _ => [1, 3, 9],
    };
    match level {
        "low" => levels[0],
        "high" => levels[2],
        _ => levels[1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(encode: &str, compress: &str, level: &str) -> Compression {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Compression { encode: some(encode), compress: some(compress), level: some(level) }
    }

    #[test]
    fn a_columns_wish_goes_before_its_databases() {
        let of = |encode, compress, level, comp, last| {
            Coding::of(Some(&wanted(encode, compress, level)), DataType::Int, comp, last)
        };
        let plain = Coding { light: Light::Off, general: General::Off };
        assert_eq!(Coding::of(None, DataType::Int, 0, true), plain);
        assert_eq!(Coding::of(None, DataType::Int, 1, true), Coding::default());
        assert_eq!(Coding::of(None, DataType::Int, 2, false), Coding::default());
        assert_eq!(Coding::of(None, DataType::Int, 2, true), Coding { light: Light::Any, general: General::Best });
        assert_eq!(of("", "", "", 2, true), Coding { light: Light::Any, general: General::Best });
        assert_eq!(of("simple8b", "", "", 0, false), Coding { light: Light::Frame, general: General::Off });
        assert_eq!(of("disabled", "disabled", "", 2, true), plain);
        assert_eq!(of("", "zstd", "high", 0, false), Coding { light: Light::Off, general: General::Zstd(9) });
        assert_eq!(of("", "", "low", 2, true), Coding { light: Light::Any, general: General::Zstd(-5) });
        assert_eq!(of("", "", "disabled", 1, false), Coding::default());
        assert_eq!(of("delta-i", "tsz", "low", 1, false), Coding { light: Light::Delta, general: General::Pco });
        let float = Coding::of(Some(&wanted("delta-d", "", "")), DataType::Double, 1, false);
        assert_eq!(float, Coding::default());
    }
}
