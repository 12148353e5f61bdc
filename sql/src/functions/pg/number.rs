//! Numbers by the patterns of `to_char`.

use datafusion::common::Result;

use super::scalar::external;

/// What a numeric pattern says.
#[derive(Default)]
struct Pattern {
    /// Text before the first place.
    prefix: String,
    /// Places before the point, from left: `9`, `0`, `,`, and literal text.
    whole: Vec<Place>,
    /// Places after the point.
    fraction: Vec<Place>,
    point: bool,
    fill: bool,
    sign: Sign,
    ordinal: Option<bool>,
    shift: u32,
}

enum Place {
    Nine,
    Zero,
    Comma,
    Text(String),
}

#[derive(Default, PartialEq)]
enum Sign {
    /// A minus before the first digit, or a space.
    #[default]
    Plain,
    /// `S` before: plus or minus at the number.
    First,
    /// `S` after.
    Last,
    /// `MI` after: minus or space.
    Minus,
    /// `SG` before.
    Both,
    /// `PR`: angle brackets.
    Angles,
}

fn parse(pattern: &str) -> Result<Pattern> {
    let mut of = Pattern::default();
    let mut rest = pattern;
    let mut seen = false;
    while let Some(c) = rest.chars().next() {
        let two = rest.get(..2).unwrap_or("").to_ascii_uppercase();
        let mut length = c.len_utf8();
        let mut place = None;
        match two.as_str() {
            "FM" => (of.fill, length) = (true, 2),
            "TH" => (of.ordinal, length) = (Some(rest.starts_with('T')), 2),
            "MI" => (of.sign, length) = (Sign::Minus, 2),
            "SG" if !seen => (of.sign, length) = (Sign::Both, 2),
            "PR" => (of.sign, length) = (Sign::Angles, 2),
            "RN" | "EE" | "PL" | "SG" => {
                return Err(external(model::error!(FeatureNotSupported, "to_char() does not take the pattern {two}")));
            }
            _ => match c {
                '9' => place = Some(Place::Nine),
                '0' => place = Some(Place::Zero),
                ',' | 'G' | 'g' => place = Some(Place::Comma),
                '.' | 'D' | 'd' if of.point => {
                    return Err(external(model::error!(SyntaxError, "multiple decimal points")));
                }
                '.' | 'D' | 'd' => of.point = true,
                'S' | 's' => of.sign = if seen { Sign::Last } else { Sign::First },
                'V' | 'v' => of.shift = rest[1..].chars().filter(|c| matches!(c, '9' | '0')).count() as u32,
                'L' | 'l' => place = Some(Place::Text(" ".into())),
                '"' => {
                    let end = rest[1..].find('"').map_or(rest.len(), |at| at + 2);
                    place = Some(Place::Text(rest[1..end.max(2) - 1].to_owned()));
                    length = end;
                }
                other => place = Some(Place::Text(other.to_string())),
            },
        }
        if let Some(place) = place {
            seen |= matches!(place, Place::Nine | Place::Zero);
            match place {
                Place::Text(text) if !seen && !of.point => of.prefix.push_str(&text),
                place if of.point => of.fraction.push(place),
                place => of.whole.push(place),
            }
        }
        rest = &rest[length..];
    }
    Ok(of)
}

/// A number, as decimal text, by a pattern of `to_char`.
pub(super) fn to_char(value: &str, pattern: &str) -> Result<String> {
    let of = parse(pattern)?;
    let digit_places = |places: &[Place]| places.iter().filter(|of| matches!(of, Place::Nine | Place::Zero)).count();
    let (before, after) = (digit_places(&of.whole), digit_places(&of.fraction));
    let negative = value.starts_with('-');
    let (whole, fraction) = rounded(value.trim_start_matches('-'), after, of.shift)?;
    let nothing = whole == "0" && fraction.bytes().all(|c| c == b'0');
    let negative = negative && !nothing;
    let overflow = whole.len() > before && !(whole == "0" && before == 0);
    let mut digits = whole.trim_start_matches('0').to_owned();
    if digits.is_empty() && before > 0 && !of.point {
        digits.push('0');
    }
    let mut body = String::new();
    // The first `0` and every place after it print a digit; `9` before the number prints a space.
    let mut at = 0;
    let mut started = false;
    let missing = before.saturating_sub(digits.len());
    for place in &of.whole {
        match place {
            Place::Nine | Place::Zero => {
                started |= matches!(place, Place::Zero);
                if overflow {
                    body.push('#');
                } else if at >= missing {
                    started = true;
                    body.push(char::from(digits.as_bytes()[at - missing]));
                } else {
                    body.push(if started { '0' } else { ' ' });
                }
                at += 1;
            }
            Place::Comma => body.push(if started || overflow { ',' } else { ' ' }),
            Place::Text(text) => body.push_str(text),
        }
    }
    if of.point {
        body.push('.');
        let mut at = 0;
        for place in &of.fraction {
            match place {
                Place::Nine | Place::Zero => {
                    body.push(if overflow { '#' } else { char::from(fraction.as_bytes()[at]) });
                    at += 1;
                }
                Place::Comma => body.push(','),
                Place::Text(text) => body.push_str(text),
            }
        }
        if of.fill {
            // FM drops trailing zeros of `9` places, not of `0` places.
            let keep = of.fraction.iter().rposition(|of| matches!(of, Place::Zero)).map_or(0, |at| at + 1);
            let most = body.len() - of.fraction.len() + keep;
            while body.len() > most && body.ends_with('0') {
                body.pop();
            }
        }
    }
    Ok(signed(&of, body, negative, &whole))
}

fn signed(of: &Pattern, body: String, negative: bool, whole: &str) -> String {
    let start = body.len() - body.trim_start().len();
    let (space, number) = body.split_at(start);
    let suffix = match (of.ordinal, negative) {
        (Some(upper), false) => {
            let suffix = match (whole.as_bytes().last(), whole.len() > 1 && whole.as_bytes()[whole.len() - 2] == b'1') {
                (_, true) => "th",
                (Some(b'1'), _) => "st",
                (Some(b'2'), _) => "nd",
                (Some(b'3'), _) => "rd",
                _ => "th",
            };
            if upper { suffix.to_uppercase() } else { suffix.to_owned() }
        }
        _ => String::new(),
    };
    let number = format!("{number}{suffix}");
    let text = match (&of.sign, negative) {
        (Sign::Plain, true) => format!("{space}-{number}"),
        (Sign::Plain, false) => format!(" {space}{number}"),
        (Sign::First, negative) => format!("{space}{}{number}", if negative { '-' } else { '+' }),
        (Sign::Last, negative) => format!("{space}{number}{}", if negative { '-' } else { '+' }),
        (Sign::Minus, negative) => format!("{space}{number}{}", if negative { '-' } else { ' ' }),
        (Sign::Both, negative) => format!("{}{space}{number}", if negative { '-' } else { '+' }),
        (Sign::Angles, true) => format!("{space}<{number}>"),
        (Sign::Angles, false) => format!(" {space}{number} "),
    };
    let text = if of.fill { text.trim().to_owned() } else { text };
    format!("{}{text}", of.prefix)
}

/// Whole digits and exactly `after` fraction digits of a decimal text, rounded half away from zero.
fn rounded(value: &str, after: usize, shift: u32) -> Result<(String, String)> {
    let (mantissa, exponent) = match value.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (value, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !format!("{whole}{fraction}").bytes().all(|c| c.is_ascii_digit()) {
        return Err(external(model::error!(FeatureNotSupported, "to_char() cannot print {value}")));
    }
    let mut digits: Vec<u8> = format!("{whole}{fraction}").into_bytes();
    let mut point = whole.len() as i32 + exponent + shift as i32;
    while point < 0 {
        digits.insert(0, b'0');
        point += 1;
    }
    let keep = point as usize + after;
    let up = digits.get(keep).is_some_and(|digit| *digit >= b'5');
    digits.resize(keep.max(digits.len()), b'0');
    digits.truncate(keep);
    if up {
        let mut at = keep;
        loop {
            if at == 0 {
                digits.insert(0, b'1');
                point += 1;
                break;
            }
            at -= 1;
            if digits[at] == b'9' {
                digits[at] = b'0';
            } else {
                digits[at] += 1;
                break;
            }
        }
    }
    let text = String::from_utf8(digits).unwrap_or_default();
    let (whole, fraction) = text.split_at(point as usize);
    let whole = whole.trim_start_matches('0');
    Ok((if whole.is_empty() { "0".into() } else { whole.into() }, fraction.to_owned()))
}
