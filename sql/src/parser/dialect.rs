//! The dialect under the stock grammar: PostgreSQL's, with durations, TDengine's operators, and fewer implicit aliases.

use std::any::TypeId;
use std::cell::Cell;

use sqlparser::ast::{BinaryOperator, Expr};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::markers::{Duration, Unit, duration_expr};

/// Words that start one of TDengine's clauses: no table is called so without AS.
const CLAUSE_WORDS: &[&str] = &[
    "INTERVAL",
    "SESSION",
    "STATE_WINDOW",
    "EVENT_WINDOW",
    "COUNT_WINDOW",
    "PARTITION",
    "SLIMIT",
    "SOFFSET",
    "SLIDING",
    "FILL",
    "RANGE",
    "EVERY",
];

/// Expressions that the stock grammar may start for each token: it goes back and tries again, and where tries lie inside
/// each other their number doubles with every level.
const STARTS_PER_TOKEN_MAX: usize = 32;

/// PostgreSQL's dialect with TDengine's additions. Made anew for each statement.
#[derive(Debug)]
pub(crate) struct Marigraph {
    starts_left: Cell<usize>,
}

impl Marigraph {
    /// The dialect for a statement of so many tokens.
    pub(crate) fn new(tokens: usize) -> Self {
        Self { starts_left: Cell::new((tokens + 64) * STARTS_PER_TOKEN_MAX) }
    }
}

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

impl Dialect for Marigraph {
    /// PostgreSQL's, so that the grammar's own branches for PostgreSQL stay on.
    fn dialect(&self) -> TypeId {
        POSTGRES.dialect()
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('"')
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        ch != '`' && POSTGRES.is_custom_operator_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        POSTGRES.is_reserved_for_identifier(keyword)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        POSTGRES.prec_value(precedence)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.starts_left.get().checked_sub(1) {
            Some(left) => self.starts_left.set(left),
            None => return Some(Err(ParserError::RecursionLimitExceeded)),
        }
        if let Some(refused) = reserved_ahead(parser) {
            return Some(refused);
        }
        let duration = duration_ahead(parser)?;
        let span = parser.next_token().span.union(&parser.next_token().span);
        Some(Ok(duration_expr(duration, span)))
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        let op = operator_ahead(parser)?;
        parser.advance_token();
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| Expr::BinaryOp { left: Box::new(expr.clone()), op, right: Box::new(right) }))
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        if operator_ahead(parser).is_some() {
            return Some(Ok(POSTGRES.prec_value(Precedence::Like)));
        }
        match &parser.peek_token_ref().token {
            // An alias.
            Token::Word(word) if word.keyword == Keyword::MATCH => Some(Ok(0)),
            _ => POSTGRES.get_next_precedence(parser),
        }
    }

    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        if !explicit
            && let Token::Word(word) = &parser.get_current_token().token
            && word.quote_style.is_none()
            && CLAUSE_WORDS.iter().any(|clause| word.value.eq_ignore_ascii_case(clause))
        {
            return false;
        }
        POSTGRES.is_table_factor_alias(explicit, keyword, parser)
    }

    fn supports_limit_comma(&self) -> bool {
        true
    }

    /// `f(label: value)` is left out: to look for the label the grammar reads every argument twice, and nested calls
    /// four, eight, sixteen times.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        POSTGRES.supports_filter_during_aggregation()
    }

    fn supports_group_by_expr(&self) -> bool {
        POSTGRES.supports_group_by_expr()
    }

    fn allow_extract_custom(&self) -> bool {
        POSTGRES.allow_extract_custom()
    }

    fn allow_extract_single_quotes(&self) -> bool {
        POSTGRES.allow_extract_single_quotes()
    }

    fn supports_factorial_operator(&self) -> bool {
        POSTGRES.supports_factorial_operator()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        POSTGRES.supports_bitwise_shift_operators()
    }

    fn supports_empty_projections(&self) -> bool {
        POSTGRES.supports_empty_projections()
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        POSTGRES.supports_array_typedef_with_brackets()
    }

    fn supports_geometric_types(&self) -> bool {
        POSTGRES.supports_geometric_types()
    }

    fn supports_notnull_operator(&self) -> bool {
        POSTGRES.supports_notnull_operator()
    }

    fn supports_interval_options(&self) -> bool {
        POSTGRES.supports_interval_options()
    }

    fn supports_comma_separated_trim(&self) -> bool {
        POSTGRES.supports_comma_separated_trim()
    }

    fn supports_select_wildcard_with_alias(&self) -> bool {
        POSTGRES.supports_select_wildcard_with_alias()
    }
}

/// The error for a word that PostgreSQL reserves, where an operand should start: the stock grammar would take it for a
/// column, and `SELECT interval FROM t` for an interval called `FROM`.
fn reserved_ahead(parser: &Parser) -> Option<Result<Expr, ParserError>> {
    let token = parser.peek_token_ref();
    let Token::Word(word) = &token.token else { return None };
    let reserved = matches!(
        word.keyword,
        Keyword::FROM
            | Keyword::WHERE
            | Keyword::INTO
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::FETCH
            | Keyword::UNION
            | Keyword::INTERSECT
            | Keyword::EXCEPT
            | Keyword::AND
            | Keyword::OR
            | Keyword::ON
            | Keyword::AS
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::END
            | Keyword::USING
            | Keyword::CREATE
            | Keyword::FOR
            | Keyword::WINDOW
    );
    (reserved && word.quote_style.is_none()).then(|| parser.expected_ref("an expression", token))
}

/// The duration literal at the parser's place: a number with its unit right behind it, as the lexer cuts `10s`.
fn duration_ahead(parser: &Parser) -> Option<Duration> {
    let [number, unit] = parser.peek_tokens_ref::<2>();
    let (Token::Number(digits, _), Token::Word(word)) = (&number.token, &unit.token) else { return None };
    if word.quote_style.is_some() || number.span.end != unit.span.start {
        return None;
    }
    Some(Duration { count: digits.parse().ok()?, unit: Unit::of(&word.value)? })
}

/// TDengine's operator at the parser's place. MATCH, NMATCH and CONTAINS are no keywords: an operand must follow, or else
/// they are aliases.
fn operator_ahead(parser: &Parser) -> Option<BinaryOperator> {
    let [word, operand] = parser.peek_tokens_ref::<2>();
    let Token::Word(word) = &word.token else { return None };
    let op = match () {
        () if word.quote_style.is_some() => return None,
        () if word.value.eq_ignore_ascii_case("MATCH") => BinaryOperator::PGRegexMatch,
        () if word.value.eq_ignore_ascii_case("NMATCH") => BinaryOperator::PGRegexNotMatch,
        () if word.value.eq_ignore_ascii_case("CONTAINS") => BinaryOperator::Question,
        () => return None,
    };
    let operand = match &operand.token {
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) | Token::Placeholder(_) | Token::LParen => true,
        Token::Word(next) => next.quote_style.is_some() || next.keyword == Keyword::NoKeyword,
        _ => false,
    };
    operand.then_some(op)
}
