//! PostgreSQL's rules of types: which one several expressions have in common, and what casts there are.
//!
//! Start reading at [`common`].

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use model::{Error, Result, error};

use crate::numeric::Shape;
use crate::pgtype::PgType;
use crate::pgvalue::full_name;

/// A type as an expression has it: PostgreSQL's, and the Arrow type of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed {
    /// `unknown` for a quoted literal, NULL, or a parameter whose type is not known.
    pub pg: PgType,
    /// Null where there is no value yet.
    pub arrow: DataType,
}

impl Typed {
    /// A literal or parameter that takes whatever type is asked of it.
    #[must_use]
    pub fn unknown() -> Self {
        Self { pg: PgType::UNKNOWN, arrow: DataType::Null }
    }

    /// Of a field.
    #[must_use]
    pub fn of(field: &Field) -> Self {
        let declared = PgType::of(field);
        let arrow = field.data_type().clone();
        // Metadata of an operand outlives a cast of it.
        let fits = PgType::of_arrow(&arrow) == declared || declared.arrow() == arrow || is_text(&arrow);
        Self { pg: if fits { declared } else { PgType::of_arrow(&arrow) }, arrow }
    }

    /// Of values of an Arrow type.
    #[must_use]
    pub fn of_arrow(arrow: DataType) -> Self {
        Self { pg: PgType::of_arrow(&arrow), arrow }
    }

    /// Whether it is still to be found out.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.pg == PgType::UNKNOWN || self.arrow.is_null()
    }

    /// As messages call it.
    #[must_use]
    pub fn name(&self) -> String {
        type_name(self.pg)
    }
}

/// A type as messages call it.
#[must_use]
pub fn type_name(pg: PgType) -> String {
    match PgType::from_oid(pg.element).filter(|_| pg.element != 0) {
        Some(element) => format!("{}[]", full_name(element)),
        None if pg == PgType::TIMESTAMP => "timestamp without time zone".to_owned(),
        None if pg == PgType::TIME => "time without time zone".to_owned(),
        None => full_name(pg).to_owned(),
    }
}

fn is_text(arrow: &DataType) -> bool {
    matches!(arrow, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// `pg_type.typcategory`: types of one category are converted into each other.
#[must_use]
pub fn category(pg: PgType) -> char {
    match pg {
        PgType::BOOL => 'B',
        PgType::INT2 | PgType::INT4 | PgType::INT8 | PgType::FLOAT4 | PgType::FLOAT8 | PgType::NUMERIC => 'N',
        PgType::OID | PgType::REGCLASS | PgType::REGTYPE | PgType::REGPROC | PgType::REGNAMESPACE => 'N',
        PgType::TEXT | PgType::VARCHAR | PgType::BPCHAR | PgType::NAME => 'S',
        PgType::DATE | PgType::TIME | PgType::TIMESTAMP | PgType::TIMESTAMPTZ => 'D',
        PgType::INTERVAL => 'T',
        PgType::UNKNOWN => 'X',
        of if of.element != 0 => 'A',
        _ => 'U',
    }
}

/// The type that others of its category are rather converted to.
fn preferred(pg: PgType) -> bool {
    matches!(pg, PgType::BOOL | PgType::FLOAT8 | PgType::OID | PgType::TEXT | PgType::TIMESTAMPTZ | PgType::INTERVAL)
}

/// Place of a number type among those that convert into the next without being asked.
fn rank(pg: PgType) -> Option<u8> {
    match pg {
        PgType::INT2 => Some(0),
        PgType::INT4 => Some(1),
        PgType::INT8 => Some(2),
        PgType::NUMERIC => Some(3),
        PgType::FLOAT4 => Some(4),
        PgType::FLOAT8 => Some(5),
        _ => None,
    }
}

/// Whether a value of one type becomes one of another without a cast.
#[must_use]
pub fn implicit(from: PgType, to: PgType) -> bool {
    if from == to {
        return true;
    }
    if let (Some(from), Some(to)) = (rank(from), rank(to)) {
        return from < to;
    }
    let oids = |of| matches!(of, PgType::REGCLASS | PgType::REGTYPE | PgType::REGPROC | PgType::REGNAMESPACE);
    let int = |of| matches!(of, PgType::INT2 | PgType::INT4 | PgType::INT8);
    match (from, to) {
        (PgType::DATE, PgType::TIMESTAMP | PgType::TIMESTAMPTZ) | (PgType::TIMESTAMP, PgType::TIMESTAMPTZ) => true,
        (PgType::TIME, PgType::INTERVAL) => true,
        (from, PgType::OID) => oids(from) || int(from),
        (from, to) if oids(to) => from == PgType::OID || int(from),
        (from, to) => category(from) == 'S' && category(to) == 'S',
    }
}

/// Whether `CAST(x AS …)` exists.
#[must_use]
pub fn castable(from: PgType, to: PgType) -> bool {
    if from == to || implicit(from, to) {
        return true;
    }
    // Everything has a text form, and is read from one.
    if category(from) == 'S' || category(to) == 'S' || matches!(from, PgType::UNKNOWN | PgType::VOID) {
        return true;
    }
    match (from, to) {
        (PgType::BOOL, to) => to == PgType::INT4,
        (from, PgType::BOOL) => from == PgType::INT4,
        (from, to) if rank(from).is_some() && rank(to).is_some() => true,
        // TDengine's: ticks of an instant.
        (PgType::INT2 | PgType::INT4 | PgType::INT8, PgType::TIMESTAMP | PgType::TIMESTAMPTZ) => true,
        (PgType::TIMESTAMP | PgType::TIMESTAMPTZ, PgType::INT2 | PgType::INT4 | PgType::INT8) => true,
        (PgType::TIMESTAMP | PgType::TIMESTAMPTZ, to) => {
            matches!(to, PgType::DATE | PgType::TIME | PgType::TIMESTAMP | PgType::TIMESTAMPTZ)
        }
        (PgType::INTERVAL, PgType::TIME) => true,
        (PgType::OID, PgType::INT4 | PgType::INT8) => true,
        (PgType::REGCLASS | PgType::REGTYPE, PgType::INT4 | PgType::INT8) => true,
        (PgType::JSON | PgType::JSONB, PgType::JSON | PgType::JSONB) => true,
        (from, to) => match (PgType::from_oid(from.element), PgType::from_oid(to.element)) {
            (Some(from), Some(to)) if category(from) != 'A' => castable(from, to),
            // What is no type of PostgreSQL's is left to DataFusion.
            _ => from.element == 0 && to.element == 0 && category(from) == 'U' && category(to) == 'U',
        },
    }
}

/// The type that `all` have in common (PostgreSQL's select_common_type), text if all are unknown.
///
/// # Errors
///
/// 42804 with the place among them of the one that does not fit; `construct` is what they stand in.
pub fn common(construct: &str, all: &[Typed]) -> Result<Typed, (Error, usize)> {
    let Some(first) = all.first() else { return Ok(Typed::of_arrow(DataType::Utf8)) };
    let mut chosen = if first.is_unknown() { PgType::UNKNOWN } else { first.pg };
    for (at, next) in all.iter().enumerate().skip(1) {
        if next.is_unknown() || next.pg == chosen {
            continue;
        }
        if chosen == PgType::UNKNOWN {
            chosen = next.pg;
        } else if category(chosen) != category(next.pg) {
            let (have, got) = (type_name(chosen), type_name(next.pg));
            return Err((error!(DatatypeMismatch, "{construct} types {have} and {got} cannot be matched"), at));
        } else if !preferred(chosen) && implicit(chosen, next.pg) && !implicit(next.pg, chosen) {
            chosen = next.pg;
        }
    }
    if chosen == PgType::UNKNOWN {
        return Ok(Typed::of_arrow(DataType::Utf8));
    }
    Ok(Typed { pg: chosen, arrow: arrow(chosen, all) })
}

/// The Arrow type of `pg` that holds the values of `all`.
fn arrow(pg: PgType, all: &[Typed]) -> DataType {
    let known = || all.iter().filter(|of| !of.is_unknown());
    let mut same = known().filter(|of| of.pg == pg);
    let first = same.next().map_or_else(|| pg.arrow(), |of| of.arrow.clone());
    if pg != PgType::NUMERIC && same.all(|of| of.arrow == first) && known().all(|of| of.pg == pg) {
        return first;
    }
    match pg {
        PgType::NUMERIC => {
            let shapes = known().filter_map(|of| Shape::of(&of.arrow));
            shapes.reduce(Shape::union).map_or_else(|| Shape::FREE.arrow(), Shape::arrow)
        }
        PgType::TIMESTAMP | PgType::TIMESTAMPTZ => {
            let unit = known().map(|of| unit_of(&of.arrow)).max().unwrap_or(TimeUnit::Microsecond);
            DataType::Timestamp(unit, (pg == PgType::TIMESTAMPTZ).then(|| Arc::from("UTC")))
        }
        PgType::TIME => DataType::Time64(TimeUnit::Nanosecond),
        of if of.element != 0 => first,
        _ => pg.arrow(),
    }
}

/// The ticks of a timestamp; a date's, and any other type's, are PostgreSQL's.
fn unit_of(arrow: &DataType) -> TimeUnit {
    match arrow {
        DataType::Timestamp(unit, _) => *unit,
        _ => TimeUnit::Microsecond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arrow: DataType) -> Typed {
        Typed::of_arrow(arrow)
    }

    fn commons(all: &[Typed]) -> String {
        match common("UNION", all) {
            Ok(typed) => typed.name(),
            Err((error, at)) => format!("{} at {at}", error.fields().message),
        }
    }

    #[test]
    fn numbers_widen() {
        let (int, big, float) = (of(DataType::Int32), of(DataType::Int64), of(DataType::Float64));
        let numeric = of(DataType::Decimal128(2, 1));
        assert_eq!(commons(&[int.clone(), big.clone()]), "bigint");
        assert_eq!(commons(&[int.clone(), numeric.clone()]), "numeric");
        assert_eq!(commons(&[numeric.clone(), of(DataType::Float32)]), "real");
        assert_eq!(commons(&[float, numeric, int.clone()]), "double precision");
        assert_eq!(commons(&[Typed::unknown(), int]), "integer");
        assert_eq!(commons(&[Typed::unknown(), Typed::unknown()]), "text");
    }

    #[test]
    fn other_categories_do_not_mix() {
        let (int, text) = (of(DataType::Int32), of(DataType::Utf8));
        assert_eq!(commons(&[int.clone(), text.clone()]), "UNION types integer and text cannot be matched at 1");
        assert_eq!(
            commons(&[of(DataType::Boolean), Typed::unknown(), int]),
            "UNION types boolean and integer cannot be matched at 2"
        );
        assert_eq!(
            commons(&[of(DataType::Date32), of(DataType::Timestamp(TimeUnit::Millisecond, None))]),
            "timestamp without time zone"
        );
    }
}
