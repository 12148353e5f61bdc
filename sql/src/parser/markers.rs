//! The marker calls that carry TDengine's SELECT clauses through the stock grammar. Said once: made and taken apart here.
//!
//! The pass over the tokens ([`super::tail`]) moves the clauses of each SELECT into calls in that SELECT's GROUP BY:
//!
//! | clause | marker |
//! |---|---|
//! | `PARTITION BY tbname, x` | `__partition(tbname, x)` |
//! | `INTERVAL(1d, 2h) SLIDING(30m)` | `__interval('1d', '2h', '30m')`, `''` for what was not given, `'auto'` for `AUTO` |
//! | `FILL(VALUE, 0, 1)` | `__fill('value', 0, 1)` |
//! | `SLIMIT 2 SOFFSET 1` | `__slimit(2, 1)`, `__slimit(NULL, 1)` |
//! | `SESSION(ts, 10s)` | `__session(ts, '10s')` |
//! | `STATE_WINDOW(e)` | `__state_window(e)` |
//! | `EVENT_WINDOW START WITH a END WITH b` | `__event_window(a, b)` |
//! | `COUNT_WINDOW(10, 2)` | `__count_window(10, 2)` |
//! | `RANGE(a, b)`, `EVERY(1s)` | `__range(a, b)`, `__every('1s')` |
//! | `SELECT TAGS …` | `__tags()` |
//!
//! The planner starts at [`Markers::take`]. A duration literal in an expression (`now() - 1d`) is no marker: it is
//! an ordinary `INTERVAL '1 day'`, see [`duration_of`].

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, Interval, ObjectName,
    ObjectNamePart, Select, Spanned, Value, ValueWithSpan,
};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

/// Names of the marker calls.
pub(crate) mod name {
    pub(crate) const PARTITION: &str = "__partition";
    pub(crate) const INTERVAL: &str = "__interval";
    pub(crate) const FILL: &str = "__fill";
    pub(crate) const SLIMIT: &str = "__slimit";
    pub(crate) const SESSION: &str = "__session";
    pub(crate) const STATE_WINDOW: &str = "__state_window";
    pub(crate) const EVENT_WINDOW: &str = "__event_window";
    pub(crate) const COUNT_WINDOW: &str = "__count_window";
    pub(crate) const RANGE: &str = "__range";
    pub(crate) const EVERY: &str = "__every";
    pub(crate) const TAGS: &str = "__tags";
}

/// A length of time as TDengine writes it: `10s`, `1n`, or bare ticks of the database's precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Duration {
    /// How many.
    pub count: i64,
    /// Of what.
    pub unit: Unit,
}

/// The unit of a [`Duration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Ticks in the precision of the database: no unit was written.
    Tick,
    /// `b`.
    Nanosecond,
    /// `u`.
    Microsecond,
    /// `a`.
    Millisecond,
    /// `s`.
    Second,
    /// `m`.
    Minute,
    /// `h`.
    Hour,
    /// `d`.
    Day,
    /// `w`.
    Week,
    /// `n`.
    Month,
    /// `y`.
    Year,
}

impl Unit {
    /// The unit of a letter; upper case is taken too.
    #[must_use]
    pub fn of(letter: &str) -> Option<Self> {
        Some(match letter {
            "b" | "B" => Self::Nanosecond,
            "u" | "U" => Self::Microsecond,
            "a" | "A" => Self::Millisecond,
            "s" | "S" => Self::Second,
            "m" | "M" => Self::Minute,
            "h" | "H" => Self::Hour,
            "d" | "D" => Self::Day,
            "w" | "W" => Self::Week,
            "n" | "N" => Self::Month,
            "y" | "Y" => Self::Year,
            _ => return None,
        })
    }

    /// Nanoseconds of a unit of fixed length; None for ticks, months and years. Days are 24 hours.
    #[must_use]
    pub const fn nanos(self) -> Option<i64> {
        match self {
            Self::Nanosecond => Some(1),
            Self::Microsecond => Some(1_000),
            Self::Millisecond => Some(1_000_000),
            Self::Second => Some(1_000_000_000),
            Self::Minute => Some(60_000_000_000),
            Self::Hour => Some(3_600_000_000_000),
            Self::Day => Some(86_400_000_000_000),
            Self::Week => Some(604_800_000_000_000),
            Self::Tick | Self::Month | Self::Year => None,
        }
    }

    /// The letter; empty for ticks.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Tick => "",
            Self::Nanosecond => "b",
            Self::Microsecond => "u",
            Self::Millisecond => "a",
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
            Self::Week => "w",
            Self::Month => "n",
            Self::Year => "y",
        }
    }

    /// The unit's name in an INTERVAL literal.
    const fn word(self) -> &'static str {
        match self {
            Self::Tick => "",
            Self::Nanosecond => "nanoseconds",
            Self::Microsecond => "microseconds",
            Self::Millisecond => "milliseconds",
            Self::Second => "seconds",
            Self::Minute => "minutes",
            Self::Hour => "hours",
            Self::Day => "days",
            Self::Week => "weeks",
            Self::Month => "months",
            Self::Year => "years",
        }
    }
}

impl Duration {
    /// Reads `10s`, `-5m`, `1000`. None if the text is something else or the count does not fit.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let letter = &text[digits.len()..];
        let unit = if letter.is_empty() { Unit::Tick } else { Unit::of(letter)? };
        Some(Self { count: digits.parse().ok()?, unit })
    }

    /// Ticks of this length in `precision`; None for months and years, or when it is no whole number of ticks that fits.
    #[must_use]
    pub fn ticks(self, precision: model::Precision) -> Option<i64> {
        if self.unit == Unit::Tick {
            return Some(self.count);
        }
        let nanos = i128::from(self.count) * i128::from(self.unit.nanos()?);
        let tick = i128::from(precision.nanos_per_tick());
        (nanos % tick == 0).then(|| i64::try_from(nanos / tick).ok()).flatten()
    }

    /// The months in a length of months or years.
    #[must_use]
    pub fn months(self) -> Option<i64> {
        match self.unit {
            Unit::Month => Some(self.count),
            Unit::Year => self.count.checked_mul(12),
            _ => None,
        }
    }
}

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.count, self.unit.letter())
    }
}

/// The mode of FILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FillMode {
    /// `NONE`.
    None,
    /// `NULL`: only where the query has rows at all.
    Null,
    /// `NULL_F`: also where it has none.
    NullForced,
    /// `VALUE`, as NULL.
    Value,
    /// `VALUE_F`, as NULL_F.
    ValueForced,
    /// `PREV`.
    Prev,
    /// `NEXT`.
    Next,
    /// `LINEAR`.
    Linear,
    /// `NEAR`.
    Near,
}

impl FillMode {
    /// The mode of a word in any case.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "none" => Self::None,
            "null" => Self::Null,
            "null_f" => Self::NullForced,
            "value" => Self::Value,
            "value_f" => Self::ValueForced,
            "prev" => Self::Prev,
            "next" => Self::Next,
            "linear" => Self::Linear,
            "near" => Self::Near,
            _ => return None,
        })
    }
}

/// FILL.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// How.
    pub mode: FillMode,
    /// With what: VALUE and VALUE_F only.
    pub values: Vec<Expr>,
}

/// A window that is not INTERVAL.
#[derive(Clone, Debug, PartialEq)]
pub enum OtherWindow {
    /// `SESSION(ts, tolerance)`.
    Session(Box<Expr>, Duration),
    /// `STATE_WINDOW(expr, …)`.
    State(Vec<Expr>),
    /// `EVENT_WINDOW START WITH a END WITH b`.
    Event(Box<Expr>, Box<Expr>),
    /// `COUNT_WINDOW(n[, slide[, columns]])`.
    Count(Vec<Expr>),
}

/// TDengine's clauses of one SELECT.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windowing {
    /// `PARTITION BY`; empty if there was none.
    pub partition: Vec<Expr>,
    /// `INTERVAL(this)`.
    pub interval: Option<Duration>,
    /// `INTERVAL(…, this)`.
    pub offset: Option<Duration>,
    /// `INTERVAL(…, AUTO)`.
    pub auto_offset: bool,
    /// `SLIDING(this)`.
    pub sliding: Option<Duration>,
    /// `FILL(…)`.
    pub fill: Option<Fill>,
    /// `SLIMIT this`.
    pub slimit: Option<u64>,
    /// `SOFFSET this`.
    pub soffset: Option<u64>,
    /// SESSION, STATE_WINDOW, EVENT_WINDOW, COUNT_WINDOW.
    pub other: Option<OtherWindow>,
    /// `RANGE(from[, to])`.
    pub range: Option<(Expr, Option<Expr>)>,
    /// `EVERY(this)`.
    pub every: Option<Duration>,
    /// `SELECT TAGS`.
    pub tags: bool,
    /// Where the first of these clauses stands in the statement: characters, starting at 1; 0 if unknown.
    pub position: u32,
}

/// Takes markers out of an AST.
pub struct Markers;

impl Markers {
    /// Removes the marker calls from `select`'s GROUP BY and says what they meant; None if there were none.
    ///
    /// Only this SELECT is looked at, not those inside it. What else was in GROUP BY stays there.
    pub fn take(select: &mut Select) -> Option<Windowing> {
        let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return None };
        let mut windowing = Windowing::default();
        let mut found = false;
        keys.retain(|key| {
            let marker = windowing.absorb(key).is_some();
            found |= marker;
            !marker
        });
        found.then_some(windowing)
    }

    /// Whether `select` has any marker.
    #[must_use]
    pub fn any(select: &Select) -> bool {
        let GroupByExpr::Expressions(keys, _) = &select.group_by else { return false };
        keys.iter().any(|key| Windowing::default().absorb(key).is_some())
    }
}

impl Windowing {
    /// Takes one marker in; None (and no change) if `key` is none.
    fn absorb(&mut self, key: &Expr) -> Option<()> {
        let (name, arguments) = call_of(key)?;
        let argument = |at: usize| arguments.get(at).copied();
        match name {
            name::PARTITION => self.partition = arguments.into_iter().cloned().collect(),
            name::INTERVAL => {
                self.interval = Some(Duration::parse(text_of(argument(0)?)?)?);
                let offset = text_of(argument(1)?)?;
                self.auto_offset = offset == "auto";
                self.offset = Duration::parse(offset);
                self.sliding = Duration::parse(text_of(argument(2)?)?);
            }
            name::FILL => {
                let mode = FillMode::of(text_of(argument(0)?)?)?;
                self.fill = Some(Fill { mode, values: arguments.into_iter().skip(1).cloned().collect() });
            }
            name::SLIMIT => {
                self.slimit = number_of(argument(0)?);
                self.soffset = number_of(argument(1)?);
            }
            name::SESSION => {
                let tolerance = Duration::parse(text_of(argument(1)?)?)?;
                self.other = Some(OtherWindow::Session(Box::new(argument(0)?.clone()), tolerance));
            }
            name::STATE_WINDOW => self.other = Some(OtherWindow::State(arguments.into_iter().cloned().collect())),
            name::COUNT_WINDOW => self.other = Some(OtherWindow::Count(arguments.into_iter().cloned().collect())),
            name::EVENT_WINDOW => {
                let (start, end) = (argument(0)?.clone(), argument(1)?.clone());
                self.other = Some(OtherWindow::Event(Box::new(start), Box::new(end)));
            }
            name::RANGE => self.range = Some((argument(0)?.clone(), argument(1).cloned())),
            name::EVERY => self.every = Some(Duration::parse(text_of(argument(0)?)?)?),
            name::TAGS => self.tags = true,
            _ => return None,
        }
        let position = position_of(key);
        if self.position == 0 || position < self.position {
            self.position = position;
        }
        Some(())
    }
}

/// The duration that an expression such as `1d` is, as the parser made it; None for any other expression, also for an
/// INTERVAL that the user wrote with other words.
#[must_use]
pub fn duration_of(expr: &Expr) -> Option<Duration> {
    let Expr::Interval(Interval { value, leading_field: None, .. }) = expr else { return None };
    let (count, word) = text_of(value)?.split_once(' ')?;
    let units = [
        Unit::Nanosecond,
        Unit::Microsecond,
        Unit::Millisecond,
        Unit::Second,
        Unit::Minute,
        Unit::Hour,
        Unit::Day,
        Unit::Week,
        Unit::Month,
        Unit::Year,
    ];
    let unit = units.into_iter().find(|unit| unit.word() == word)?;
    Some(Duration { count: count.parse().ok()?, unit })
}

/// The expression of a duration literal: `INTERVAL '1 days'`.
pub(crate) fn duration_expr(duration: Duration, span: Span) -> Expr {
    let text = format!("{} {}", duration.count, duration.unit.word());
    Expr::Interval(Interval {
        value: Box::new(Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span })),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// Where an expression starts, in characters of its statement, starting at 1; 0 if unknown.
///
/// The lexer puts every token on line 1, in the column of its character position.
#[must_use]
pub fn position_of(expr: &Expr) -> u32 {
    u32::try_from(expr.span().start.column).unwrap_or(0)
}

/// A marker call in tokens; every token it makes itself carries `span`.
pub(crate) fn call(name: &str, arguments: Vec<Vec<TokenWithSpan>>, span: Span) -> Vec<TokenWithSpan> {
    let own = |token| TokenWithSpan { token, span };
    let mut tokens = vec![own(Token::make_word(name, None)), own(Token::LParen)];
    for (i, argument) in arguments.into_iter().enumerate() {
        if i > 0 {
            tokens.push(own(Token::Comma));
        }
        tokens.extend(argument);
    }
    tokens.push(own(Token::RParen));
    tokens
}

/// Name and arguments of a plain call.
fn call_of(expr: &Expr) -> Option<(&str, Vec<&Expr>)> {
    let Expr::Function(Function { name: ObjectName(parts), args: FunctionArguments::List(list), .. }) = expr else {
        return None;
    };
    let [ObjectNamePart::Identifier(Ident { value, .. })] = parts.as_slice() else { return None };
    if !value.starts_with("__") {
        return None;
    }
    let plain = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    Some((value, list.args.iter().map(plain).collect::<Option<Vec<_>>>()?))
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}

fn number_of(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => digits.parse().ok(),
        _ => None,
    }
}
