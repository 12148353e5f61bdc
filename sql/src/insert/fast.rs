//! INSERT … VALUES straight from text, without tokens or an AST.
//!
//! Takes only what it can read with certainty: names, literals, `NOW` and `TODAY` with durations. Whatever else stands
//! there, right or wrong, is [`Stop::NotRecognised`], and the general grammar reads the statement again. So syntax
//! errors are the general grammar's alone; errors in values come from the stage that both share.
//!
//! [`Straight`] reads a text that nobody has looked through yet, and gives up at the first thing that is not right: what
//! it was is found by going the other way. So a statement that succeeds is read once.

use std::borrow::Cow;

use model::schema::{RelationKind, Table};
use model::{DataType, Error, Precision, Result, Value};

use super::stage::{Slot, Stage, Target};
use super::{Batch, Resolver, tags};
use crate::literal::{Literal, Reading, now, today};
use crate::parser::markers::{Duration, Unit};
use crate::parser::scan;
use crate::statement::{ColumnName, TableName};

/// Why reading ended early.
enum Stop {
    NotRecognised,
    Failed(Error),
}

type Step<T> = std::result::Result<T, Stop>;

/// See [`super::is_insert`].
pub(super) fn is_insert(text: &str) -> bool {
    let mut reader = Reader::new(text);
    reader.start().is_ok() && reader.head().is_ok()
}

/// See [`super::scan_tables`].
pub(super) fn scan_tables(text: &str) -> Option<Vec<TableName>> {
    let mut reader = Reader::new(text);
    reader.start().ok()?;
    let mut tables = Vec::new();
    while !reader.at_end() {
        reader.head().ok()?.into_tables(&mut tables);
        reader.skip_rows().ok()?;
    }
    (!tables.is_empty()).then_some(tables)
}

/// See [`super::Straight`].
pub(super) struct Straight<'a> {
    reader: Reader<'a>,
    stage: Stage,
    /// What the rows at the reader's place are for.
    head: Head,
}

impl<'a> Straight<'a> {
    pub(super) fn begin(text: &'a str, reading: &Reading) -> Option<Self> {
        let mut reader = Reader::new(text);
        reader.start().ok()?;
        let head = reader.head().ok()?;
        Some(Self { reader, stage: Stage::new(*reading), head })
    }

    pub(super) fn tables(&self) -> Vec<TableName> {
        let using = self.head.using.as_ref().map(|using| using.stable.clone());
        std::iter::once(self.head.table.clone()).chain(using).collect()
    }

    pub(super) fn all_tables(&self) -> Option<Vec<TableName>> {
        let mut tables = self.tables();
        let mut ahead = self.reader.clone();
        ahead.skip_rows().ok()?;
        while !ahead.at_end() {
            ahead.head().ok()?.into_tables(&mut tables);
            ahead.skip_rows().ok()?;
        }
        Some(tables)
    }

    pub(super) fn rows(&mut self, resolver: &dyn Resolver) -> Option<bool> {
        let target = self.reader.target(&self.head, resolver, &mut self.stage).ok()?;
        self.reader.rows(&target, &mut self.stage).ok()?;
        if self.reader.at_end() {
            return Some(false);
        }
        self.head = self.reader.head().ok()?;
        Some(true)
    }

    pub(super) fn finish(self) -> Vec<Batch> {
        self.stage.finish()
    }
}

/// See [`super::read`].
pub(super) fn read(text: &str, resolver: &dyn Resolver, reading: &Reading) -> Result<Option<Vec<Batch>>> {
    let mut stage = Stage::new(*reading);
    match Reader::new(text).statement(resolver, &mut stage) {
        Ok(()) => Ok(Some(stage.finish())),
        Err(Stop::NotRecognised) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// `t [USING st [(tags)] TAGS (…)] [(columns)] VALUES`, read up to the first row.
struct Head {
    table: TableName,
    using: Option<UsingText>,
    columns: Option<Vec<ColumnName>>,
}

impl Head {
    /// Appends the tables that it names.
    fn into_tables(self, tables: &mut Vec<TableName>) {
        tables.push(self.table);
        tables.extend(self.using.map(|using| using.stable));
    }
}

struct UsingText {
    stable: TableName,
    tags: Option<Vec<ColumnName>>,
    /// Byte of the values' opening parenthesis.
    values: usize,
}

/// A literal as it was read; its text may have to be made.
enum Read<'a> {
    Null,
    Text(Cow<'a, str>),
    Number(&'a str),
    Bool(bool),
    /// NOW or TODAY, and the durations added to it.
    Time {
        today: bool,
        steps: Vec<Duration>,
    },
}

#[derive(Clone)]
struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// A byte up to which characters were counted, and how many there were.
    counted: (usize, usize),
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, counted: (0, 0) }
    }

    // ---- Shapes ----

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn blank(&mut self) -> Step<()> {
        // Nearly always there is nothing, or one space.
        if self.peek().is_some_and(|byte| byte > b' ' && byte != b'-' && byte != b'/') {
            return Ok(());
        }
        self.at = scan::blank(self.bytes, self.at).ok_or(Stop::NotRecognised)?;
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Step<()> {
        if self.peek() != Some(byte) {
            return Err(Stop::NotRecognised);
        }
        self.at += 1;
        Ok(())
    }

    /// The unquoted word at this place, not taken.
    fn word(&self) -> &'a str {
        let rest = &self.bytes[self.at..];
        if !rest.first().is_some_and(|byte| scan::is_word_start(*byte)) {
            return "";
        }
        let length = rest.iter().position(|byte| !scan::is_word_part(*byte)).unwrap_or(rest.len());
        &self.text[self.at..self.at + length]
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.word().eq_ignore_ascii_case(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn keyword(&mut self, word: &str) -> Step<()> {
        if !self.eat(word) {
            return Err(Stop::NotRecognised);
        }
        self.blank()
    }

    /// Characters before byte `at`, and one. Counts from the place of the last call if that lies before: a statement
    /// may name thousands of tables.
    fn position(&mut self, at: usize) -> u32 {
        let (from, before) = if self.counted.0 <= at { self.counted } else { (0, 0) };
        self.counted = (at, before + scan::characters(&self.bytes[from..at]));
        self.counted.1 as u32 + 1
    }

    fn fail<T>(&mut self, error: Error, at: usize) -> Step<T> {
        // An error that has a place keeps it.
        let placed = error.fields().position.is_some();
        Err(Stop::Failed(if placed { error } else { error.at(self.position(at)) }))
    }

    fn identifier(&mut self) -> Step<String> {
        match self.peek() {
            Some(quote @ (b'"' | b'`')) => {
                let end = scan::quoted(self.bytes, self.at).ok_or(Stop::NotRecognised)?;
                let body = &self.text[self.at + 1..end - 1];
                if body.is_empty() {
                    return Err(Stop::NotRecognised);
                }
                self.at = end;
                let quote = quote as char;
                Ok(body.replace(&format!("{quote}{quote}"), &quote.to_string()))
            }
            _ => {
                let word = self.word();
                let prefix = matches!(self.bytes.get(self.at + word.len()), Some(b'\'' | b'&'));
                if word.is_empty() || prefix {
                    return Err(Stop::NotRecognised);
                }
                self.at += word.len();
                Ok(word.to_ascii_lowercase())
            }
        }
    }

    fn column(&mut self) -> Step<ColumnName> {
        let at = self.at;
        let name = self.identifier()?;
        Ok(ColumnName { name, position: self.position(at) })
    }

    fn table(&mut self) -> Step<TableName> {
        let position = self.position(self.at);
        let mut parts = vec![self.identifier()?];
        self.blank()?;
        while self.peek() == Some(b'.') && parts.len() < 3 {
            self.at += 1;
            self.blank()?;
            parts.push(self.identifier()?);
            self.blank()?;
        }
        let name = parts.pop().unwrap_or_default();
        Ok(TableName { qualifier: parts, name, position })
    }

    /// `(a, b, …)` of names.
    fn names(&mut self) -> Step<Vec<ColumnName>> {
        self.byte(b'(')?;
        let mut names = Vec::new();
        loop {
            self.blank()?;
            names.push(self.column()?);
            self.blank()?;
            if self.peek() != Some(b',') {
                self.byte(b')')?;
                self.blank()?;
                return Ok(names);
            }
            self.at += 1;
        }
    }

    /// Past `(…)` with whatever is in it; parameters are the general grammar's.
    fn skip_group(&mut self) -> Step<()> {
        self.byte(b'(')?;
        let mut depth = 1_usize;
        while depth > 0 {
            let rest = &self.bytes[self.at..];
            let skip = rest.iter().position(|byte| STOPS[usize::from(*byte)]).ok_or(Stop::NotRecognised)?;
            self.at += skip;
            match self.bytes[self.at] {
                b'(' => depth += 1,
                b')' => depth -= 1,
                quote @ (b'\'' | b'"' | b'`') => {
                    let escapes = quote == b'\'' && self.at > 0 && matches!(self.bytes[self.at - 1], b'e' | b'E');
                    if escapes {
                        return Err(Stop::NotRecognised);
                    }
                    self.at = scan::quoted(self.bytes, self.at).ok_or(Stop::NotRecognised)?;
                    continue;
                }
                b'-' if self.bytes.get(self.at + 1) == Some(&b'-') => {
                    self.at = scan::line_comment(self.bytes, self.at);
                    continue;
                }
                b'/' if self.bytes.get(self.at + 1) == Some(&b'*') => {
                    self.at = scan::block_comment(self.bytes, self.at).ok_or(Stop::NotRecognised)?;
                    continue;
                }
                b'$' => return Err(Stop::NotRecognised),
                _ => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Past the rows `(…)(…),(…)`, up to the next head or the end.
    fn skip_rows(&mut self) -> Step<()> {
        loop {
            self.skip_group()?;
            if !self.row_follows()? {
                return Ok(());
            }
        }
    }

    /// Past what separates rows; whether another one is to come.
    fn row_follows(&mut self) -> Step<bool> {
        self.blank()?;
        if self.peek() == Some(b',') {
            self.at += 1;
            self.blank()?;
            return Ok(true);
        }
        Ok(self.peek() == Some(b'('))
    }

    // ---- The statement ----

    /// `INSERT INTO`.
    fn start(&mut self) -> Step<()> {
        self.blank()?;
        self.keyword("INSERT")?;
        self.keyword("INTO")
    }

    fn head(&mut self) -> Step<Head> {
        if ["ON", "RETURNING"].iter().any(|word| self.word().eq_ignore_ascii_case(word)) {
            return Err(Stop::NotRecognised);
        }
        let table = self.table()?;
        let mut using = None;
        if self.eat("USING") {
            self.blank()?;
            let stable = self.table()?;
            let tags = if self.peek() == Some(b'(') { Some(self.names()?) } else { None };
            self.keyword("TAGS")?;
            let values = self.at;
            self.skip_group()?;
            self.blank()?;
            using = Some(UsingText { stable, tags, values });
        }
        let columns = if self.peek() == Some(b'(') { Some(self.names()?) } else { None };
        self.keyword("VALUES")?;
        if self.peek() == Some(b'(') { Ok(Head { table, using, columns }) } else { Err(Stop::NotRecognised) }
    }

    fn statement(&mut self, resolver: &dyn Resolver, stage: &mut Stage) -> Step<()> {
        self.start()?;
        while !self.at_end() {
            let head = self.head()?;
            let target = self.target(&head, resolver, stage)?;
            self.rows(&target, stage)?;
        }
        Ok(())
    }

    fn rows(&mut self, target: &Target, stage: &mut Stage) -> Step<()> {
        loop {
            self.row(target, stage)?;
            if !self.row_follows()? {
                return Ok(());
            }
        }
    }

    fn target(&mut self, head: &Head, resolver: &dyn Resolver, stage: &mut Stage) -> Step<Target> {
        let columns = head.columns.as_deref();
        let target = match &head.using {
            None => {
                let resolved = tags::known(resolver, &head.table).map_err(Stop::Failed)?;
                if let Table::Relation(relation) = &resolved.table
                    && relation.kind == RelationKind::Plain
                    && relation.columns.iter().any(|column| column.default.is_some())
                {
                    return Err(Stop::NotRecognised);
                }
                stage.target(&head.table, resolved, None, columns)
            }
            Some(using) => {
                let stable = tags::stable(resolver, &head.table, &using.stable).map_err(Stop::Failed)?;
                let Table::Relation(relation) = &stable.table else { return Err(Stop::NotRecognised) };
                let tag_slots = tags::slots(relation, using.tags.as_deref()).map_err(Stop::Failed)?;
                let back = std::mem::replace(&mut self.at, using.values);
                let values = self.tag_values(relation, &tag_slots, stable.precision, &stage.reading)?;
                self.at = back;
                stage.target(&head.table, stable, Some((&head.table.name, values)), columns)
            }
        };
        target.map_err(Stop::Failed)
    }

    fn tag_values(
        &mut self,
        relation: &model::schema::Relation,
        slots: &[usize],
        precision: Precision,
        reading: &Reading,
    ) -> Step<Vec<(model::ColumnId, Value)>> {
        let opens = self.at;
        self.byte(b'(')?;
        let mut values = Vec::new();
        for count in 0.. {
            self.blank()?;
            let at = self.at;
            let read = self.literal()?;
            let Some(tag) = slots.get(count).map(|slot| &relation.tags[*slot]) else {
                return self.fail(tags::too_many(), at);
            };
            let literal = self.value(&read, Some(tag.data_type), precision, reading)?;
            match crate::literal::value(literal, tag.data_type, precision, reading) {
                Ok(Value::Null) => {}
                Ok(value) => values.push((tag.id, value)),
                Err(error) => return self.fail(error, at),
            }
            self.blank()?;
            if self.peek() == Some(b',') {
                self.at += 1;
                continue;
            }
            self.byte(b')')?;
            if count + 1 < slots.len() {
                return self.fail(tags::too_few(), opens);
            }
            break;
        }
        Ok(values)
    }

    fn row(&mut self, target: &Target, stage: &mut Stage) -> Step<()> {
        let opens = self.at;
        self.byte(b'(')?;
        stage.begin_row(target);
        let mut count = 0;
        loop {
            self.blank()?;
            let slot = target.slots.get(count).copied();
            if !slot.is_some_and(|slot| self.plain(target, slot, stage)) {
                self.any(target, slot, stage)?;
            }
            count += 1;
            if self.peek() == Some(b',') {
                self.at += 1;
                continue;
            }
            self.byte(b')')?;
            break;
        }
        if count < target.slots.len() {
            if !target.listed && !stage.relation(target).is_time_series() {
                // PostgreSQL fills the rest of a plain table's row.
                return Err(Stop::NotRecognised);
            }
            return self.fail(super::too_few_values(), opens);
        }
        match stage.end_row(target) {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error, opens),
        }
    }

    /// Takes the value at this place if it needs no second look, up to the comma or parenthesis behind it: a short
    /// number, or the time of the row before. Most values are such.
    fn plain(&mut self, target: &Target, slot: Slot, stage: &mut Stage) -> bool {
        let rest = &self.bytes[self.at..];
        let taken = match rest.first() {
            Some(b'0'..=b'9' | b'-') => stage.put_number(target, slot, rest, [b',', b')']),
            Some(b'\'') if slot == Slot::Key => stage.put_same_time(target, rest),
            _ => None,
        };
        self.at += taken.unwrap_or(0);
        taken.is_some()
    }

    /// Takes any value.
    fn any(&mut self, target: &Target, slot: Option<Slot>, stage: &mut Stage) -> Step<()> {
        let at = self.at;
        let read = self.literal()?;
        let Some(slot) = slot else { return self.fail(super::too_many_values(), at) };
        let (data_type, precision) = (stage.data_type(target, slot), stage.precision(target));
        let literal = self.value(&read, data_type, precision, &stage.reading)?;
        if slot == Slot::TableName && !matches!(literal, Literal::Text(_) | Literal::Null) {
            return Err(Stop::NotRecognised);
        }
        match stage.put(target, slot, literal) {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error, at),
        }
    }

    // ---- Values ----

    fn literal(&mut self) -> Step<Read<'a>> {
        let read = match self.peek() {
            Some(b'0'..=b'9' | b'.' | b'+' | b'-') => self.number()?,
            Some(quote @ (b'\'' | b'"')) => self.string(quote)?,
            _ => {
                let word = self.word();
                let of = |name: &str| word.eq_ignore_ascii_case(name);
                if of("NULL") {
                    self.at += word.len();
                    Read::Null
                } else if of("TRUE") || of("FALSE") {
                    self.at += word.len();
                    Read::Bool(of("TRUE"))
                } else if of("NOW") || of("TODAY") {
                    self.at += word.len();
                    self.time(of("TODAY"))?
                } else {
                    return Err(Stop::NotRecognised);
                }
            }
        };
        self.blank()?;
        // Anything but the end of the value makes it an expression.
        if matches!(self.peek(), Some(b',' | b')')) { Ok(read) } else { Err(Stop::NotRecognised) }
    }

    fn number(&mut self) -> Step<Read<'a>> {
        let start = self.at;
        self.at += usize::from(matches!(self.bytes[start], b'+' | b'-'));
        let mut seen = self.digits();
        if self.peek() == Some(b'.') {
            self.at += 1;
            seen += self.digits();
        }
        if seen == 0 {
            return Err(Stop::NotRecognised);
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(Stop::NotRecognised);
            }
        }
        Ok(Read::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn string(&mut self, quote: u8) -> Step<Read<'a>> {
        let end = scan::quoted(self.bytes, self.at).ok_or(Stop::NotRecognised)?;
        let body = &self.text[self.at + 1..end - 1];
        self.at = end;
        if memchr::memchr(quote, body.as_bytes()).is_none() {
            return Ok(Read::Text(Cow::Borrowed(body)));
        }
        let body = if quote == b'\'' { body.replace("''", "'") } else { body.replace("\"\"", "\"") };
        Ok(Read::Text(Cow::Owned(body)))
    }

    /// `NOW`, `NOW()`, `NOW + 1s`, `TODAY() - 1d`, behind the word.
    fn time(&mut self, today: bool) -> Step<Read<'a>> {
        self.blank()?;
        if self.peek() == Some(b'(') {
            self.at += 1;
            self.blank()?;
            self.byte(b')')?;
        } else if today {
            // Without parentheses PostgreSQL's grammar has a column of that name.
            return Err(Stop::NotRecognised);
        }
        let mut steps = Vec::new();
        loop {
            self.blank()?;
            let Some(sign @ (b'+' | b'-')) = self.peek() else { break };
            self.at += 1;
            self.blank()?;
            let start = self.at;
            self.digits();
            self.at += self.word().len();
            let duration = Duration::parse(&self.text[start..self.at]).ok_or(Stop::NotRecognised)?;
            let count = if sign == b'-' { -duration.count } else { duration.count };
            steps.push(Duration { count, ..duration });
        }
        Ok(Read::Time { today, steps })
    }

    fn value<'r>(
        &self,
        read: &'r Read<'a>,
        data_type: Option<DataType>,
        precision: Precision,
        reading: &Reading,
    ) -> Step<Literal<'r>> {
        Ok(match read {
            Read::Null => Literal::Null,
            Read::Text(text) => Literal::Text(text),
            Read::Number(digits) => Literal::Number(digits),
            Read::Bool(value) => Literal::Bool(*value),
            Read::Time { .. } if data_type != Some(DataType::Timestamp) => return Err(Stop::NotRecognised),
            Read::Time { today: is_today, steps } => {
                let start = if *is_today { today(precision, reading) } else { now(precision, reading) };
                Literal::Ticks(shifted(start, steps, precision).ok_or(Stop::NotRecognised)?)
            }
        })
    }
}

/// A time and durations of whole ticks; None for what needs a calendar or does not fit.
pub(super) fn shifted(start: i64, steps: &[Duration], precision: Precision) -> Option<i64> {
    steps.iter().try_fold(start, |ticks, step| {
        if step.unit == Unit::Tick {
            return None;
        }
        ticks.checked_add(step.ticks(precision)?)
    })
}

/// Bytes inside a group that may mean something to its end.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let bytes = b"()'\"`-/$";
    let mut at = 0;
    while at < bytes.len() {
        stops[bytes[at] as usize] = true;
        at += 1;
    }
    stops
};
