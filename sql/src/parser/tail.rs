//! Moves TDengine's clauses of every SELECT, at any depth, into marker calls in that SELECT's GROUP BY.
//!
//! Works on tokens, before the stock grammar sees them. A SELECT's clauses are the ones at its own level of parentheses,
//! after its FROM, up to the end of the level or the next set operation. `OVER (PARTITION BY …)` is a level without a
//! SELECT and stays as it is. Start reading at [`rewrite`]; what is made is said in [`super::markers`].

use model::{Result, error};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::context::is_word;
use super::cursor::near;
use super::markers::{self, Duration, FillMode, name};

/// Words that can start a clause; a statement without any of them is left alone.
const WORDS: &[&str] = &[
    "PARTITION",
    "INTERVAL",
    "SLIDING",
    "FILL",
    "SESSION",
    "STATE_WINDOW",
    "EVENT_WINDOW",
    "COUNT_WINDOW",
    "RANGE",
    "EVERY",
    "SLIMIT",
    "SOFFSET",
    "TAGS",
];

/// Rewrites all SELECTs of a statement.
///
/// # Errors
///
/// 42601 where a clause is malformed.
pub(crate) fn rewrite(text: &str, mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    top_is_a_function(&mut tokens);
    let mut tokens = spell_tables(tokens);
    rows_without_columns(&mut tokens);
    let select = tokens.iter().any(|token| keyword(token) == Keyword::SELECT);
    if !select || !tokens.iter().any(|token| WORDS.iter().any(|word| is_word(token, word))) {
        return Ok(tokens);
    }
    let pass = Pass { text, closes: closes(&tokens), tokens: &tokens };
    let mut out = Vec::with_capacity(tokens.len() + 16);
    pass.emit(0, tokens.len(), &mut out)?;
    Ok(out)
}

/// `SELECT top(v, 3)`: the stock grammar would read another dialect's `SELECT TOP (n)`.
fn top_is_a_function(tokens: &mut [TokenWithSpan]) {
    for at in 1..tokens.len().saturating_sub(1) {
        let before = matches!(keyword(&tokens[at - 1]), Keyword::SELECT | Keyword::DISTINCT | Keyword::ALL);
        let call = tokens[at + 1].token == Token::LParen;
        if before
            && call
            && keyword(&tokens[at]) == Keyword::TOP
            && let Token::Word(word) = &mut tokens[at].token
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
}

/// `TABLE t` where a query starts is `SELECT * FROM t`: the stock grammar drops what follows the name.
fn spell_tables(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let starts = |at: usize| {
        let Some(before) = at.checked_sub(1).and_then(|before| tokens.get(before)) else { return true };
        let set =
            |token: &TokenWithSpan| matches!(keyword(token), Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT);
        match keyword(before) {
            Keyword::ALL | Keyword::DISTINCT => at.checked_sub(2).is_some_and(|before| set(&tokens[before])),
            Keyword::AS | Keyword::EXPLAIN | Keyword::ANALYZE | Keyword::VERBOSE | Keyword::FOR => true,
            _ => set(before) || matches!(before.token, Token::LParen | Token::RParen | Token::SemiColon),
        }
    };
    let names = |at: usize| match tokens.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) => {
            word.quote_style.is_some() || !matches!(word.keyword, Keyword::FROM | Keyword::WHERE | Keyword::AS)
        }
        _ => false,
    };
    let is_query = |at: usize| keyword(&tokens[at]) == Keyword::TABLE && starts(at) && names(at + 1);
    if !(0..tokens.len()).any(is_query) {
        return tokens;
    }
    let mut out = Vec::with_capacity(tokens.len() + 2);
    for (at, token) in tokens.iter().enumerate() {
        if !is_query(at) {
            out.push(token.clone());
            continue;
        }
        let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
        out.extend(words.into_iter().map(|word| TokenWithSpan { token: word, span: token.span }));
    }
    out
}

/// `SELECT`, `SELECT WHERE …`: a row without columns, which the stock grammar reads only before FROM.
fn rows_without_columns(tokens: &mut Vec<TokenWithSpan>) {
    let follows = |token: Option<&TokenWithSpan>| match token {
        None => true,
        Some(next) if matches!(next.token, Token::EOF | Token::RParen) => true,
        Some(next) => matches!(
            keyword(next),
            Keyword::WHERE
                | Keyword::GROUP
                | Keyword::HAVING
                | Keyword::WINDOW
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::ORDER
                | Keyword::LIMIT
                | Keyword::OFFSET
                | Keyword::FETCH
                | Keyword::FOR
        ),
    };
    for at in (0..tokens.len()).rev() {
        if keyword(&tokens[at]) != Keyword::SELECT || !follows(tokens.get(at + 1)) {
            continue;
        }
        let word = |word| Token::make_word(word, None);
        let one = Token::Number("0".to_owned(), false);
        let nested = [Token::LParen, word("VALUES"), Token::LParen, one, Token::RParen, Token::RParen];
        let row = [word("FROM")].into_iter().chain(nested).chain([word("AS"), word("_row")]);
        let span = tokens[at].span;
        tokens.splice(at + 1..at + 1, row.map(|token| TokenWithSpan { token, span }));
    }
}

/// For each opening parenthesis the index of the one that closes it, or the number of tokens.
fn closes(tokens: &[TokenWithSpan]) -> Vec<usize> {
    let mut closes = vec![tokens.len(); tokens.len()];
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => open.push(at),
            Token::RParen => {
                if let Some(start) = open.pop() {
                    closes[start] = at;
                }
            }
            _ => {}
        }
    }
    closes
}

fn keyword(token: &TokenWithSpan) -> Keyword {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

struct Pass<'a> {
    text: &'a str,
    tokens: &'a [TokenWithSpan],
    closes: Vec<usize>,
}

/// The clauses of one SELECT: tokens to leave out, and marker calls to put in.
#[derive(Default)]
struct Select {
    /// Ranges of tokens that are moved, in order.
    moved: Vec<(usize, usize)>,
    /// The first words of the clauses so far: each may stand once.
    words: Vec<&'static str>,
    /// The marker calls.
    calls: Vec<Vec<TokenWithSpan>>,
    /// SLIMIT and SOFFSET.
    slices: [Option<TokenWithSpan>; 2],
    /// Where the first clause stands.
    span: Option<Span>,
    /// Past its own `GROUP BY`.
    group: Option<usize>,
    /// Where a GROUP BY must stand at the latest.
    before: Option<usize>,
    /// Past its last token.
    end: usize,
}

impl Pass<'_> {
    fn emit(&self, from: usize, to: usize, out: &mut Vec<TokenWithSpan>) -> Result<()> {
        let mut at = from;
        while at < to {
            out.push(self.tokens[at].clone());
            if keyword(&self.tokens[at]) == Keyword::SELECT {
                let select = self.analyse(at, to)?;
                if let Some(span) = select.span {
                    self.emit_select(at + 1, select, span, out)?;
                    at = self.select_end(at, to);
                    continue;
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// Writes a SELECT behind its first word.
    fn emit_select(&self, from: usize, select: Select, span: Span, out: &mut Vec<TokenWithSpan>) -> Result<()> {
        let own = |token| TokenWithSpan { token, span };
        let [slimit, soffset] = select.slices;
        let mut calls = select.calls;
        if slimit.is_some() || soffset.is_some() {
            let or_null = |token: Option<TokenWithSpan>| vec![token.unwrap_or(own(Token::make_word("NULL", None)))];
            calls.push(markers::call(name::SLIMIT, vec![or_null(slimit), or_null(soffset)], span));
        }
        let mut insert = Vec::new();
        if select.group.is_none() {
            insert.extend([own(Token::make_word("GROUP", None)), own(Token::make_word("BY", None))]);
        }
        let last = calls.len() - 1;
        for (i, call) in calls.into_iter().enumerate() {
            insert.extend(call);
            if i < last || select.group.is_some() {
                insert.push(own(Token::Comma));
            }
        }
        let place = select.group.or(select.before).unwrap_or(select.end);
        let mut at = from;
        let mut insert = Some(insert);
        for (start, end) in select.moved.into_iter().chain([(select.end, select.end)]) {
            if start >= place
                && let Some(tokens) = insert.take()
            {
                self.emit(at, place, out)?;
                out.extend(tokens);
                at = place;
            }
            self.emit(at, start, out)?;
            at = end;
        }
        Ok(())
    }

    fn token(&self, at: usize) -> Option<&TokenWithSpan> {
        self.tokens.get(at)
    }

    fn word(&self, at: usize, word: &str) -> bool {
        self.token(at).is_some_and(|token| is_word(token, word))
    }

    fn opens(&self, at: usize) -> bool {
        self.token(at).is_some_and(|token| token.token == Token::LParen)
    }

    fn unexpected<T>(&self, at: usize) -> Result<T> {
        Err(near(self.text, self.token(at)))
    }

    /// The token after the one at `at`, on the same level.
    fn step(&self, at: usize) -> usize {
        if self.opens(at) { self.closes[at] + 1 } else { at + 1 }
    }

    /// Past the last token of the SELECT that starts at `at`.
    fn select_end(&self, at: usize, to: usize) -> usize {
        let mut at = at + 1;
        while at < to && !self.ends_select(at) {
            at = self.step(at);
        }
        at.min(to)
    }

    fn ends_select(&self, at: usize) -> bool {
        let Some(token) = self.token(at) else { return true };
        token.token == Token::RParen
            || token.token == Token::SemiColon
            || matches!(keyword(token), Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT)
    }

    fn analyse(&self, select_at: usize, to: usize) -> Result<Select> {
        let mut select = Select { end: self.select_end(select_at, to), ..Select::default() };
        self.select_tags(select_at + 1, &mut select);
        let mut from = false;
        let mut at = select_at + 1;
        while at < select.end {
            let token = &self.tokens[at];
            match keyword(token) {
                Keyword::FROM if !self.word(at - 1, "DISTINCT") => from = true,
                Keyword::GROUP if from && self.word(at + 1, "BY") => select.group = select.group.or(Some(at + 2)),
                _ if from && self.follows_grouping(at) => select.before = select.before.or(Some(at)),
                _ => {}
            }
            let clause = if from { self.clause(at, &mut select)? } else { None };
            match clause {
                Some(end) => {
                    select.span = select.span.or(Some(token.span));
                    select.before = select.before.or(Some(at));
                    select.moved.push((at, end));
                    at = end;
                }
                None => at = self.step(at),
            }
        }
        Ok(select)
    }

    /// `SELECT TAGS a`: the word is a clause if a select item follows it.
    fn select_tags(&self, at: usize, select: &mut Select) {
        let at = if self.word(at, "DISTINCT") || self.word(at, "ALL") { at + 1 } else { at };
        let item = match self.token(at + 1).map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() => !matches!(
                word.keyword,
                Keyword::FROM | Keyword::AS | Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::IS
            ),
            Some(Token::Word(_)) => true,
            Some(Token::Mul) => self.word(at + 2, "FROM"),
            _ => false,
        };
        if self.word(at, "TAGS") && item && at + 1 < select.end {
            let span = self.tokens[at].span;
            select.span = Some(span);
            select.moved.push((at, at + 1));
            select.calls.push(markers::call(name::TAGS, Vec::new(), span));
        }
    }

    /// Whether the token starts a clause that comes after GROUP BY.
    fn follows_grouping(&self, at: usize) -> bool {
        match keyword(&self.tokens[at]) {
            Keyword::HAVING | Keyword::QUALIFY | Keyword::LIMIT | Keyword::OFFSET | Keyword::FETCH => true,
            Keyword::ORDER => self.word(at + 1, "BY"),
            Keyword::WINDOW => self.operand_ended(at),
            Keyword::FOR => ["UPDATE", "SHARE", "NO", "KEY"].iter().any(|word| self.word(at + 1, word)),
            _ => false,
        }
    }

    /// Whether an operand or a table ends before `at`, so that a word there cannot be part of an expression.
    fn operand_ended(&self, at: usize) -> bool {
        const EXPECT_OPERAND: &[&str] = &[
            "AND", "OR", "NOT", "WHERE", "BETWEEN", "LIKE", "ILIKE", "IN", "ON", "WHEN", "THEN", "ELSE", "CASE", "BY",
            "SELECT", "FROM", "JOIN", "HAVING", "USING", "AS", "DISTINCT", "MATCH", "NMATCH", "CONTAINS", "LIMIT",
            "OFFSET", "SIMILAR", "TO", "ALL", "ANY", "SOME", "IS", "LATERAL", "ONLY",
        ];
        match self.token(at - 1).map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                !EXPECT_OPERAND.iter().any(|expect| word.value.eq_ignore_ascii_case(expect))
            }
            Some(Token::Word(_) | Token::RParen | Token::RBracket | Token::Number(..) | Token::Placeholder(_)) => true,
            Some(Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)) => true,
            _ => false,
        }
    }

    /// The clause that starts at `at`: takes its call in and gives the index past it.
    fn clause(&self, at: usize, select: &mut Select) -> Result<Option<usize>> {
        let Some(word) = WORDS.iter().find(|word| self.word(at, word)).copied() else { return Ok(None) };
        if !self.operand_ended(at) {
            return Ok(None);
        }
        let span = self.tokens[at].span;
        if !matches!(word, "SLIMIT" | "SOFFSET") && select.words.contains(&word) {
            return self.unexpected(at);
        }
        select.words.push(word);
        match word {
            "PARTITION" if self.word(at + 1, "BY") => {
                let end = self.expression_end(at + 2, select.end);
                select.calls.push(markers::call(name::PARTITION, vec![self.argument(at + 2, end)?], span));
                Ok(Some(end))
            }
            "EVENT_WINDOW" if self.word(at + 1, "START") => self.event_window(at, select).map(Some),
            "SLIMIT" | "SOFFSET" => self.slices(at, word == "SLIMIT", select).map(Some),
            "SLIDING" if self.opens(at + 1) => self.unexpected(at),
            "PARTITION" | "EVENT_WINDOW" | "TAGS" => Ok(None),
            _ if self.opens(at + 1) => {
                let close = self.closes[at + 1];
                if close >= self.tokens.len() {
                    return self.unexpected(self.tokens.len());
                }
                self.parenthesized(word, at, close, select).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A clause with its arguments in parentheses, from `at` to the parenthesis at `close`.
    fn parenthesized(&self, word: &str, at: usize, close: usize, select: &mut Select) -> Result<usize> {
        let span = self.tokens[at].span;
        let arguments = self.split(at + 2, close)?;
        let whole = || vec![self.argument(at + 2, close)];
        let (call, end) = match word {
            "INTERVAL" => {
                let (first, offset) = self.one_or_two(&arguments, close)?;
                let offset = match offset {
                    Some((from, to)) if to == from + 1 && self.word(from, "AUTO") => "auto".to_owned(),
                    Some(range) => self.duration(range)?,
                    None => String::new(),
                };
                let mut end = close + 1;
                let mut sliding = String::new();
                if self.word(end, "SLIDING") && self.opens(end + 1) {
                    let sliding_close = self.closes[end + 1];
                    sliding = self.duration((end + 2, sliding_close))?;
                    end = sliding_close + 1;
                }
                let texts = [self.duration(first)?, offset, sliding];
                (markers::call(name::INTERVAL, texts.into_iter().map(|text| string(text, span)).collect(), span), end)
            }
            "FILL" => (self.fill(&arguments, close, span)?, close + 1),
            "SESSION" => {
                let (column, tolerance) = self.one_or_two(&arguments, close)?;
                let Some(tolerance) = tolerance else { return self.unexpected(close) };
                let texts = vec![self.argument(column.0, column.1)?, string(self.duration(tolerance)?, span)];
                (markers::call(name::SESSION, texts, span), close + 1)
            }
            "EVERY" => {
                let texts = vec![string(self.duration((at + 2, close))?, span)];
                (markers::call(name::EVERY, texts, span), close + 1)
            }
            "STATE_WINDOW" => (markers::call(name::STATE_WINDOW, collect(whole())?, span), close + 1),
            "COUNT_WINDOW" => (markers::call(name::COUNT_WINDOW, collect(whole())?, span), close + 1),
            _ => (markers::call(name::RANGE, collect(whole())?, span), close + 1),
        };
        select.calls.push(call);
        Ok(end)
    }

    fn fill(&self, arguments: &[(usize, usize)], close: usize, span: Span) -> Result<Vec<TokenWithSpan>> {
        let Some(&(from, to)) = arguments.first() else { return self.unexpected(close) };
        let mode = match self.token(from).map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() && to == from + 1 => word.value.to_ascii_lowercase(),
            _ => return self.unexpected(from),
        };
        let Some(known) = FillMode::of(&mode) else { return self.unexpected(from) };
        let takes_values = matches!(known, FillMode::Value | FillMode::ValueForced);
        if takes_values != (arguments.len() > 1) {
            return self.unexpected(if takes_values { close } else { arguments[1].0 });
        }
        let mut all = vec![string(mode, span)];
        for (from, to) in &arguments[1..] {
            all.push(self.argument(*from, *to)?);
        }
        Ok(markers::call(name::FILL, all, span))
    }

    fn event_window(&self, at: usize, select: &mut Select) -> Result<usize> {
        let span = self.tokens[at].span;
        if !self.word(at + 2, "WITH") {
            return self.unexpected(at + 2);
        }
        let (start, mut end, mut cases) = (at + 3, at + 3, 0_usize);
        while end < select.end && !(cases == 0 && self.word(end, "END")) {
            match keyword(&self.tokens[end]) {
                Keyword::CASE => cases += 1,
                Keyword::END => cases -= 1,
                _ => {}
            }
            end = self.step(end);
        }
        if !self.word(end, "END") || !self.word(end + 1, "WITH") {
            return self.unexpected(end);
        }
        let last = self.expression_end(end + 2, select.end);
        let conditions = vec![self.argument(start, end)?, self.argument(end + 2, last)?];
        select.calls.push(markers::call(name::EVENT_WINDOW, conditions, span));
        Ok(last)
    }

    /// `SLIMIT n [SOFFSET m]`, `SLIMIT m, n`, `SOFFSET m`.
    fn slices(&self, at: usize, limit: bool, select: &mut Select) -> Result<usize> {
        let number = |at: usize| match self.token(at) {
            Some(token) if matches!(&token.token, Token::Number(digits, _) if digits.parse::<u64>().is_ok()) => {
                Ok(token.clone())
            }
            _ => self.unexpected(at),
        };
        let first = number(at + 1)?;
        if limit && self.token(at + 2).is_some_and(|token| token.token == Token::Comma) {
            select.slices = [Some(number(at + 3)?), Some(first)];
            return Ok(at + 4);
        }
        let slot = &mut select.slices[usize::from(!limit)];
        if slot.is_some() {
            return self.unexpected(at);
        }
        *slot = Some(first);
        Ok(at + 2)
    }

    /// Past the expressions that start at `at`: up to the next clause.
    fn expression_end(&self, at: usize, end: usize) -> usize {
        let mut at = at;
        while at < end {
            let group = keyword(&self.tokens[at]) == Keyword::GROUP && self.word(at + 1, "BY");
            if group || self.follows_grouping(at) || self.starts_clause(at) {
                break;
            }
            at = self.step(at);
        }
        at.min(end)
    }

    fn starts_clause(&self, at: usize) -> bool {
        let Some(word) = WORDS.iter().find(|word| self.word(at, word)) else { return false };
        let next = match *word {
            "SLIMIT" | "SOFFSET" => true,
            "PARTITION" => self.word(at + 1, "BY"),
            "EVENT_WINDOW" => self.word(at + 1, "START"),
            "TAGS" => false,
            _ => self.opens(at + 1),
        };
        next && self.operand_ended(at)
    }

    /// The tokens of an argument, its own subqueries rewritten.
    fn argument(&self, from: usize, to: usize) -> Result<Vec<TokenWithSpan>> {
        if from >= to {
            return self.unexpected(to);
        }
        let mut out = Vec::with_capacity(to - from);
        self.emit(from, to, &mut out)?;
        Ok(out)
    }

    /// Ranges between the commas of a level.
    fn split(&self, from: usize, to: usize) -> Result<Vec<(usize, usize)>> {
        let mut ranges = Vec::new();
        let (mut start, mut at) = (from, from);
        while at < to {
            if self.tokens[at].token == Token::Comma {
                ranges.push((start, at));
                start = at + 1;
            }
            at = self.step(at);
        }
        ranges.push((start, to));
        match ranges.iter().find(|(from, to)| from == to) {
            Some((_, to)) => self.unexpected(*to),
            None => Ok(ranges),
        }
    }

    #[expect(clippy::type_complexity, reason = "two ranges, the second optional")]
    fn one_or_two(
        &self,
        arguments: &[(usize, usize)],
        close: usize,
    ) -> Result<((usize, usize), Option<(usize, usize)>)> {
        match arguments {
            [one] => Ok((*one, None)),
            [one, two] => Ok((*one, Some(*two))),
            [_, _, third, ..] => self.unexpected(third.0 - 1),
            [] => self.unexpected(close),
        }
    }

    /// A duration in one of its three spellings: `1s`, `1000`, `'1s'`.
    fn duration(&self, (from, to): (usize, usize)) -> Result<String> {
        let text = match self.tokens.get(from..to) {
            Some([one]) => match &one.token {
                Token::Number(text, _) | Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => {
                    text.clone()
                }
                _ => return self.unexpected(from),
            },
            Some([number, unit]) if number.span.end == unit.span.start => {
                format!("{}{}", number.token, unit.token)
            }
            Some([_, second, ..]) => return Err(near(self.text, Some(second))),
            _ => return self.unexpected(to),
        };
        match Duration::parse(&text) {
            Some(duration) => Ok(duration.to_string()),
            None => {
                let position = self.tokens[from].span.start.column as u32;
                Err(error!(SyntaxError, "\"{text}\" is not a duration")
                    .with_hint("write a whole number and a unit, such as 10s, 5m, 1h, 1d, 1n (month) or 1y")
                    .at(position))
            }
        }
    }
}

fn string(text: String, span: Span) -> Vec<TokenWithSpan> {
    vec![TokenWithSpan { token: Token::SingleQuotedString(text), span }]
}

fn collect(arguments: Vec<Result<Vec<TokenWithSpan>>>) -> Result<Vec<Vec<TokenWithSpan>>> {
    arguments.into_iter().collect()
}
