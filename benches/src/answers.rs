//! What engines answer, and whether two of them answer alike, value by value.
//!
//! Times have no zone, since all are in UTC; numbers may differ in the last digits, where engines add up in another order.

use tokio_postgres::SimpleQueryMessage;

/// Largest difference of two numbers in relation to the larger one.
const TOLERANCE: f64 = 1e-9;

/// The rows of an answer: values as text with tabs between them, `NULL` for NULL.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    rows: Vec<String>,
}

impl Answer {
    pub(crate) fn of(messages: &[SimpleQueryMessage]) -> Self {
        let mut rows = Vec::new();
        for message in messages {
            if let SimpleQueryMessage::Row(row) = message {
                let values: Vec<String> = (0..row.len()).map(|at| plain(row.get(at).unwrap_or("NULL"))).collect();
                rows.push(values.join("\t"));
            }
        }
        Self { rows }
    }

    /// Of lines as an engine wrote them.
    pub(crate) fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let rows = lines.map(|line| line.split('\t').map(plain).collect::<Vec<_>>().join("\t"));
        Self { rows: rows.collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The first difference, in words; none if both say the same. Rows are sorted first unless the query orders them.
    pub(crate) fn difference(&self, other: &Self, ordered: bool) -> Option<String> {
        if self.len() != other.len() {
            return Some(format!("{} rows and {}", self.len(), other.len()));
        }
        let (own, others) = (self.in_order(ordered), other.in_order(ordered));
        own.into_iter().zip(others).find(|(a, b)| !same_row(a, b)).map(|(a, b)| format!("({a}) and ({b})"))
    }

    fn in_order(&self, ordered: bool) -> Vec<&String> {
        let mut rows: Vec<&String> = self.rows.iter().collect();
        if !ordered {
            rows.sort_by_cached_key(|row| sort_key(row));
        }
        rows
    }
}

/// A row without its fractions, which engines may print otherwise, and then the row.
fn sort_key(row: &str) -> (String, String) {
    let exact = row.split('\t').filter(|value| value.parse::<f64>().is_err() || value.parse::<i64>().is_ok());
    (exact.collect::<Vec<_>>().join("\t"), row.to_owned())
}

fn same_row(a: &str, b: &str) -> bool {
    let mut others = b.split('\t');
    let same = a.split('\t').all(|value| others.next().is_some_and(|other| same_value(value, other)));
    same && others.next().is_none()
}

fn same_value(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-3),
        _ => false,
    }
}

/// A value as every engine would print it.
fn plain(value: &str) -> String {
    let zoneless = match value.strip_suffix("+00") {
        Some(time) if time.len() >= 19 && time.as_bytes()[4] == b'-' => time,
        _ => value,
    };
    // Milliseconds that are none.
    let whole = zoneless.strip_suffix(".000").filter(|time| time.len() == 19 && time.as_bytes()[4] == b'-');
    match whole.unwrap_or(zoneless) {
        "true" | "True" => "t".to_owned(),
        "false" | "False" => "f".to_owned(),
        "\\N" | "None" | "NaT" | "nan" => "NULL".to_owned(),
        other => other.to_owned(),
    }
}

/// Whether a query says in which order its rows come.
pub(crate) fn is_ordered(sql: &str) -> bool {
    sql.rsplit(')').next().is_some_and(|end| end.contains("ORDER BY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[&str]) -> Answer {
        Answer::of_lines(rows.iter().copied())
    }

    #[test]
    fn last_digits_zones_and_the_order_of_unordered_rows_make_no_difference() {
        let ours = answer(&["2016-01-01 00:00:00+00\t1.3333333333333333\ta", "2016-01-01 01:00:00+00\t2\tNULL"]);
        let theirs = answer(&["2016-01-01 01:00:00\t2.0000000000\t\\N", "2016-01-01 00:00:00.000\t1.33333333333\ta"]);
        assert_eq!(ours.difference(&theirs, false), None);
        assert!(ours.difference(&theirs, true).is_some(), "an order that was asked for counts");
    }

    #[test]
    fn every_other_difference_is_told() {
        let one = answer(&["host_1\t5"]);
        for other in [&["host_1\t6"][..], &["host_2\t5"], &["host_1\t5", "host_1\t5"], &["host_1"], &["host_1\tNULL"]] {
            assert!(one.difference(&answer(other), false).is_some(), "{other:?}");
        }
    }

    #[test]
    fn only_an_order_at_the_end_orders() {
        assert!(is_ordered("SELECT max(a) FROM t GROUP BY 1 ORDER BY 1"));
        assert!(!is_ordered("SELECT * FROM (SELECT a FROM t ORDER BY 1)"));
    }
}
