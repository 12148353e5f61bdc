//! `SIMILAR TO`: PostgreSQL's translation of the pattern into a regular expression.

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ScalarUDF;
use model::error;
use regex::Regex;

use super::scalar::{Call, external};
use super::whole::Whole;
use crate::catalogs::relations::field;
use crate::pgtype::PgType;

/// `pg_similar(text, pattern[, escape])`.
pub(super) fn function() -> ScalarUDF {
    Whole::udf("pg_similar", similar_type, similar)
}

fn similar_type(fields: &[FieldRef]) -> Result<FieldRef> {
    for of in fields {
        if !(of.data_type().is_string() || of.data_type().is_null()) {
            let name = crate::plan::types::type_name(PgType::of(of));
            let error = error!(UndefinedFunction, "operator does not exist: {name} ~ text");
            return Err(external(error));
        }
    }
    if fields.len() < 2 {
        return plan_err!("SIMILAR TO takes a text and a pattern");
    }
    Ok(std::sync::Arc::new(field("similar", PgType::BOOL, true)))
}

fn similar(_: &Call<'_>, args: &[ArrayRef], count: usize, _: &FieldRef) -> Result<ArrayRef> {
    let texts = args.iter().map(|arg| Ok(cast(arg, &DataType::Utf8)?)).collect::<Result<Vec<_>>>()?;
    let (values, patterns) = (texts[0].as_string::<i32>(), texts[1].as_string::<i32>());
    let escapes = texts.get(2).map(|of| of.as_string::<i32>());
    let mut known: Option<((String, Option<String>), Regex)> = None;
    let mut out = BooleanBuilder::with_capacity(count);
    for row in 0..count {
        if values.is_null(row) || patterns.is_null(row) || escapes.is_some_and(|of| of.is_null(row)) {
            out.append_null();
            continue;
        }
        let key = (patterns.value(row), escapes.map(|of| of.value(row)));
        let regex = match &known {
            Some(((pattern, escape), regex)) if pattern == key.0 && escape.as_deref() == key.1 => regex.clone(),
            _ => {
                let regex = compiled(key.0, key.1)?;
                known = Some(((key.0.to_owned(), key.1.map(str::to_owned)), regex.clone()));
                regex
            }
        };
        out.append_value(regex.is_match(values.value(row)));
    }
    Ok(std::sync::Arc::new(out.finish()))
}

fn compiled(pattern: &str, escape: Option<&str>) -> Result<Regex> {
    let translated = translated(pattern, escape).map_err(external)?;
    Regex::new(&translated).map_err(|_| {
        external(error!(InvalidRegularExpression, "invalid regular expression: \"{pattern}\" of SIMILAR TO is not one"))
    })
}

/// PostgreSQL's similar_to_escape, in the syntax of our regular expressions.
fn translated(pattern: &str, escape: Option<&str>) -> model::Result<String> {
    let mut escape = escape.unwrap_or("\\").chars();
    let (escape, more) = (escape.next(), escape.next());
    if more.is_some() {
        return Err(error!(InvalidEscapeSequence, "invalid escape string")
            .with_hint("Escape string must be empty or one character."));
    }
    let mut out = String::from("(?s)^(?:");
    let (mut escaped, mut in_class, mut class_start) = (false, false, false);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if escaped {
            escaped = false;
            if c == '"' && !in_class {
                return Err(error!(
                    InvalidUseOfEscapeCharacter,
                    "SIMILAR TO does not take escape-double-quote separators"
                ));
            }
            literal(c, &mut out);
        } else if Some(c) == escape {
            escaped = true;
        } else if in_class {
            match c {
                ']' if !class_start => {
                    out.push(']');
                    in_class = false;
                }
                '[' if matches!(chars.peek(), Some(':')) => posix_class(&mut chars, &mut out),
                '^' if class_start => out.push('^'),
                '\\' | '[' | ']' | '&' | '~' => out.extend(['\\', c]),
                other => out.push(other),
            }
            class_start = class_start && c == '^';
        } else {
            match c {
                '[' => {
                    out.push('[');
                    (in_class, class_start) = (true, true);
                }
                '%' => out.push_str(".*"),
                '_' => out.push('.'),
                '(' => out.push_str("(?:"),
                '\\' | '.' | '^' | '$' => out.extend(['\\', c]),
                other => out.push(other),
            }
        }
    }
    if escaped {
        // The escape at the end stands for itself in PostgreSQL's regular expression, which then is none.
        out.push('\\');
    }
    out.push_str(")$");
    Ok(out)
}

/// A character that was escaped: a class such as `\d` keeps its meaning, as in PostgreSQL.
fn literal(c: char, out: &mut String) {
    let meta = c.is_ascii_punctuation() || matches!(c, 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'n' | 'r' | 't');
    if meta {
        out.push('\\');
    }
    out.push(c);
}

/// `[:alpha:]` inside a class, as it is.
fn posix_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.push('[');
    for c in chars.by_ref() {
        out.push(c);
        if c == ']' {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_postgres() {
        // The answers of PostgreSQL 15.
        for (text, pattern, escape, expected) in [
            ("abc", "abc", None, true),
            ("abc", "a", None, false),
            ("abc", "%(b|d)%", None, true),
            ("abc", "(b|c)%", None, false),
            ("a.c", "a.c", None, true),
            ("abc", "a.c", None, false),
            ("a\nc", "a_c", None, true),
            ("aab", "a+b", None, true),
            ("10%", "10#%", Some("#"), true),
            ("10x", "10#%", Some("#"), false),
            ("a1", "a\\d", None, true),
            ("x]", "x[]]", None, true),
            ("b", "[^a]", None, true),
            ("aaa", "a{2,3}", None, true),
            ("q7", "[[:alpha:]][0-9]", None, true),
        ] {
            let regex = compiled(pattern, escape).expect("it is a pattern");
            assert_eq!(regex.is_match(text), expected, "{text} SIMILAR TO {pattern}");
        }
        assert!(compiled("a", Some("##")).is_err());
        assert!(compiled("a(", None).is_err());
    }
}
