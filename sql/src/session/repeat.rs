//! Statements of the simple protocol that have come before with other literals, as programs send them that know no
//! parameters.
//!
//! A text's quoted literals are taken out ([`Skeleton`]), and what is left is looked up in [`super::plans`]. Which literals
//! are values and which belong to the plan is decided once, by [`lift`]: values are those that stand alone beside a column
//! in a conjunct of WHERE, where the column's type says what they are. All others must be the same again. Nothing here can
//! fail: what is not certain is planned by itself, and that says what is wrong with it.
//! Start reading at [`Session::recall`].

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use sqlparser::ast::{self, BinaryOperator, Expr, SetExpr, TableFactor};

use super::plans::{Found, Known, Slot, instant};
use super::{Session, TransactionStatus};
use crate::parser::markers::position_of;
use crate::pgtype::PgType;
use crate::plan::names::folded;
use crate::plan::template::only_scan;
use crate::plan::{PlanContext, Planned};
use crate::statement::{Parsed, Statement};

/// Bytes of a text that is looked up; longer ones take long anyway.
const TEXT_MAX: usize = 8 << 10;

/// A text without its literals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skeleton {
    /// What is left, `'?'` in the place of each.
    key: String,
    literals: Vec<String>,
    /// The place of each in the text: characters, starting at 1.
    places: Vec<u32>,
}

impl Skeleton {
    /// The skeleton of a text that is one SELECT and is written plainly: without comments, parameters and literals of any
    /// special kind. None for any other.
    pub(super) fn of(text: &str, double_quotes_are_strings: bool) -> Option<Self> {
        let start = text.trim_start();
        let select = start.get(..6)?.eq_ignore_ascii_case("select");
        if text.len() > TEXT_MAX || !select || !start[6..].starts_with(char::is_whitespace) {
            return None;
        }
        let mut skeleton = Self { key: String::with_capacity(text.len()), literals: Vec::new(), places: Vec::new() };
        skeleton.key.push(if double_quotes_are_strings { '"' } else { ' ' });
        let (mut rest, mut at) = (text, 1_u32);
        while let Some(found) = rest.find(['\'', '"', '-', '/', '$', ';', '\\']) {
            let (before, after) = rest.split_at(found);
            skeleton.key.push_str(before);
            at += count(before);
            let taken = match after.as_bytes()[0] {
                b'\'' => skeleton.literal(after, at)?,
                b'"' => skeleton.name(after)?,
                b'-' if !after.starts_with("--") => skeleton.one(after),
                b'/' if !after.starts_with("/*") => skeleton.one(after),
                b';' if after[1..].trim().is_empty() => break,
                _ => return None,
            };
            at += count(&after[..taken]);
            rest = &after[taken..];
        }
        if !rest.starts_with(';') {
            skeleton.key.push_str(rest);
        }
        Some(skeleton)
    }

    /// Takes out the literal at the start of `text`; its bytes with both quotes.
    fn literal(&mut self, text: &str, at: u32) -> Option<usize> {
        // A letter, a digit or the like before it gives it a meaning of its own.
        let plain = |before: char| before.is_whitespace() || "(,=<>|+*%".contains(before);
        if !self.key.chars().next_back().is_some_and(plain) {
            return None;
        }
        let end = text[1..].find('\'')? + 1;
        if text[end + 1..].starts_with('\'') {
            return None;
        }
        self.key.push_str("'?'");
        self.literals.push(text[1..end].to_owned());
        self.places.push(at);
        Some(end + 1)
    }

    fn name(&mut self, text: &str) -> Option<usize> {
        let end = text[1..].find('"')? + 2;
        self.key.push_str(&text[..end]);
        Some(end)
    }

    fn one(&mut self, text: &str) -> usize {
        self.key.push_str(&text[..1]);
        1
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// A statement whose text has come before, with the literals of this time.
#[derive(Clone, Debug)]
pub struct Repeated {
    skeleton: Skeleton,
    plans: Vec<Arc<Known>>,
}

/// A plan with its values.
#[derive(Clone, Debug)]
pub(super) struct Match {
    pub(super) known: Arc<Known>,
    pub(super) values: Vec<ScalarValue>,
    /// The key of its text.
    pub(super) key: String,
}

impl Session {
    /// The only statement of a message of the simple protocol, if it is a query that was planned before with other
    /// literals. None if the message is to be parsed.
    pub fn recall(&mut self, text: &str) -> Option<Parsed> {
        self.repeating = None;
        let settings = self.settings.now();
        if !settings.keeps_plans() || self.status() == TransactionStatus::Failed || self.transaction.is_dirty() {
            return None;
        }
        let skeleton = Skeleton::of(text, settings.double_quotes_are_strings())?;
        match self.engine.plans.find(&skeleton.key) {
            Found::New | Found::Hopeless => None,
            Found::Again => {
                self.repeating = Some(skeleton);
                None
            }
            Found::Plans(plans) => {
                let statement = Statement::Repeated(Box::new(Repeated { skeleton, plans }));
                Some(Parsed { statement, text: text.to_owned(), offset: 0 })
            }
        }
    }

    /// The plan for a text that has come before. None if it is to be planned by itself, after which it may be learned.
    pub(super) fn matching(&mut self, repeated: &Repeated) -> Option<Match> {
        let context = self.plan_context();
        let skeleton = &repeated.skeleton;
        for known in repeated.plans.iter().filter(|known| known.template.is_for(&context)) {
            if let Some(values) = known.values(&skeleton.literals, &context) {
                return Some(Match { known: Arc::clone(known), values, key: skeleton.key.clone() });
            }
        }
        if self.engine.plans.may_learn(&skeleton.key) {
            self.repeating = Some(skeleton.clone());
        }
        None
    }

    /// Makes a plan for other literals of a query that is about to run, whose text has come before.
    pub(super) async fn learn(&self, skeleton: &Skeleton, query: &ast::Query, offset: u32, planned: &Planned) {
        if !planned.context.overlay.is_empty() {
            return;
        }
        let known = self.known(query, offset, planned, skeleton).await;
        self.engine.plans.learn(&skeleton.key, known, &planned.context);
    }

    async fn known(&self, query: &ast::Query, offset: u32, planned: &Planned, skeleton: &Skeleton) -> Option<Known> {
        if !planned.is_lasting() {
            return None;
        }
        let planner = &self.engine.planner;
        let Lifted { query, slots, fields, values } = lift(query, offset, planned, skeleton)?;
        let context = Arc::clone(&planned.context);
        let general = planner.plan_with(&query, context, fields).await.ok()?;
        let template = planner.template(&general, &values, &planned.plan)?;
        let same = template.columns() == planned.columns;
        same.then_some(Known { template, slots })
    }
}

/// A query with parameters instead of literals.
struct Lifted {
    query: ast::Query,
    slots: Vec<Slot>,
    fields: Vec<FieldRef>,
    /// Those that the literals say.
    values: Vec<ScalarValue>,
}

/// Takes the literals out of the conjuncts of a query's WHERE, if it reads one table.
fn lift(query: &ast::Query, offset: u32, planned: &Planned, skeleton: &Skeleton) -> Option<Lifted> {
    let (table, _) = only_scan(&planned.plan)?;
    let schema = table.schema();
    let mut query = query.clone();
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let plain = query.with.is_none() && query.locks.is_empty();
    let [from] = select.from.as_slice() else { return None };
    if !plain || !from.joins.is_empty() || !matches!(from.relation, TableFactor::Table { args: None, .. }) {
        return None;
    }
    let fixed = skeleton.literals.iter().map(|literal| Slot::Fixed(literal.clone()));
    let mut lifting = Lifting {
        column: &|name| schema.field_with_name(name).ok(),
        skeleton,
        offset,
        context: &planned.context,
        slots: fixed.collect(),
        found: Vec::new(),
    };
    if let Some(selection) = &mut select.selection {
        lifting.conjuncts(selection);
    }
    let Lifting { slots, mut found, .. } = lifting;
    // Parameters are numbered in the order of the text, which is that of the values.
    found.sort_by_key(|one| one.place);
    let mut numbers = vec![0; skeleton.literals.len()];
    let (mut fields, mut values) = (Vec::new(), Vec::new());
    for (at, one) in found.into_iter().enumerate() {
        numbers[one.place] = at + 1;
        let name = format!("${}", at + 1);
        fields.push(Arc::new(Field::new(name, one.value.data_type(), true)));
        values.push(one.value);
    }
    if let Some(selection) = &mut select.selection {
        number(selection, &numbers);
    }
    Some(Lifted { query, slots, fields, values })
}

/// Gives parameters that have the numbers of their literals those of their own.
fn number(selection: &mut Expr, numbers: &[usize]) {
    let _ = ast::visit_expressions_mut(selection, |expr| {
        if let Expr::Value(value) = expr
            && let ast::Value::Placeholder(name) = &mut value.value
            && let Some(place) = name.strip_prefix('#').and_then(|digits| digits.parse::<usize>().ok())
            && let Some(number) = numbers.get(place)
        {
            *name = format!("${number}");
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}

/// A literal that is a value.
struct Value {
    /// Which of the text's literals it is.
    place: usize,
    value: ScalarValue,
}

struct Lifting<'a> {
    column: &'a dyn Fn(&str) -> Option<&'a Field>,
    skeleton: &'a Skeleton,
    offset: u32,
    context: &'a PlanContext,
    slots: Vec<Slot>,
    found: Vec<Value>,
}

impl<'a> Lifting<'a> {
    fn conjuncts(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Nested(inner) => self.conjuncts(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.conjuncts(left);
                self.conjuncts(right);
            }
            Expr::BinaryOp { left, op, right } if compares(op) => {
                if let Some(column) = self.column(left) {
                    self.value(column, right);
                } else if let Some(column) = self.column(right) {
                    self.value(column, left);
                }
            }
            Expr::Between { expr, negated: false, low, high } => {
                if let Some(column) = self.column(expr) {
                    self.value(column, low);
                    self.value(column, high);
                }
            }
            Expr::InList { expr, list, negated: false } => {
                if let Some(column) = self.column(expr) {
                    list.iter_mut().for_each(|item| self.value(column, item));
                }
            }
            _ => {}
        }
    }

    fn column(&self, expr: &Expr) -> Option<&'a Field> {
        let ident = match expr {
            Expr::Identifier(ident) => ident,
            Expr::CompoundIdentifier(parts) => parts.last()?,
            _ => return None,
        };
        (self.column)(&folded(ident))
    }

    /// Makes a parameter of a literal beside a column.
    fn value(&mut self, column: &Field, expr: &mut Expr) {
        let position = position_of(expr).saturating_add(self.offset);
        let Expr::Value(value) = expr else { return };
        let ast::Value::SingleQuotedString(text) = &value.value else { return };
        let Some(place) = self.skeleton.places.iter().position(|place| *place == position) else { return };
        if self.skeleton.literals[place] != *text {
            return;
        }
        let (slot, of) = match column.data_type() {
            DataType::Utf8 if matches!(PgType::of(column), PgType::VARCHAR | PgType::TEXT) => {
                (Slot::Text, ScalarValue::from(text.as_str()))
            }
            DataType::Timestamp(unit, Some(zone)) => {
                let Some(of) = instant(text, *unit, zone, self.context) else { return };
                (Slot::Time(*unit, Arc::clone(zone)), of)
            }
            _ => return,
        };
        self.slots[place] = slot;
        self.found.push(Value { place, value: of });
        value.value = ast::Value::Placeholder(format!("#{place}"));
    }
}

fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq};
    matches!(op, Eq | Lt | LtEq | Gt | GtEq)
}
