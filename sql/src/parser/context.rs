//! What a quoted word is where it stands, and whether a statement is too deep: passes over the tokens before the tail.
//!
//! `"x"` is an identifier, but a string inside VALUES (…), inside the TAGS (…) of INSERT and USING, and after FILE; with
//! `SET double_quotes = 'string'` it is a string everywhere. `` `x` `` is always an identifier.

use model::{Result, error};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Most levels of parentheses, brackets and CASE inside each other.
pub(crate) const NESTING_MAX: usize = 128;

/// Most operators that can lie inside each other: `1 + 1 + 1 …` nests as deep as it is long, because it leans left.
pub(crate) const DEPTH_MAX: usize = 900;

/// Most parentheses opened one after another where a table may stand: the stock grammar tries each of them in two ways.
pub(crate) const PARENTHESES_MAX: usize = 16;

/// Decides for each quoted word whether it is an identifier or a string.
///
/// # Errors
///
/// 42601 for an identifier without a letter.
pub(crate) fn resolve_quotes(tokens: &mut [TokenWithSpan], strings: bool) -> Result<()> {
    let mut at = 0;
    let mut using = tokens.first().is_some_and(|token| is_word(token, "INSERT"));
    while at < tokens.len() {
        using |= is_word(&tokens[at], "USING");
        let opens = tokens.get(at + 1).is_some_and(|next| next.token == Token::LParen);
        let values = is_word(&tokens[at], "VALUES") || (using && is_word(&tokens[at], "TAGS"));
        if values && opens {
            let end = rows_end(tokens, at + 1);
            strings_in(&mut tokens[at + 1..end]);
            at = end;
        } else {
            if is_word(&tokens[at], "FILE") && at + 1 < tokens.len() {
                to_string(&mut tokens[at + 1].token);
            }
            at += 1;
        }
    }
    for token in tokens.iter_mut() {
        let position = token.span.start.column as u32;
        if let Token::Word(word) = &mut token.token {
            if word.quote_style.is_some() && word.value.is_empty() {
                return Err(error!(SyntaxError, "zero-length delimited identifier at or near \"\"\"\"").at(position));
            }
            if strings && word.quote_style == Some('"') {
                token.token = Token::DoubleQuotedString(std::mem::take(&mut word.value));
            } else if word.quote_style == Some('`') {
                word.quote_style = Some('"');
            }
        }
    }
    Ok(())
}

/// Past the rows `(…)(…),(…)` that start at `at`.
fn rows_end(tokens: &[TokenWithSpan], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Comma => {}
            _ if depth == 0 => break,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Makes strings of the double-quoted words, but not inside a subquery.
fn strings_in(tokens: &mut [TokenWithSpan]) {
    let mut depth = 0_usize;
    let mut query: Option<usize> = None;
    for token in tokens {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.saturating_sub(1);
                query = query.filter(|inside| depth >= *inside);
            }
            Token::Word(word) if word.keyword == Keyword::SELECT => query = query.or(Some(depth)),
            _ if query.is_none() => to_string(&mut token.token),
            _ => {}
        }
    }
}

fn to_string(token: &mut Token) {
    if let Token::Word(word) = token
        && word.quote_style == Some('"')
    {
        *token = Token::SingleQuotedString(std::mem::take(&mut word.value));
    }
}

/// Whether `token` is this word, unquoted, in any case.
pub(crate) fn is_word(token: &TokenWithSpan, text: &str) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// Refuses what would make a tree too deep to walk, in one pass.
///
/// # Errors
///
/// 54001, at the token that goes too deep.
pub(crate) fn check_depth(tokens: &[TokenWithSpan]) -> Result<()> {
    let refuse = |what: &str, limit: usize, token: &TokenWithSpan| {
        Err(error!(StatementTooComplex, "statement is nested too deeply: more than {limit} {what}")
            .with_hint("split the expression, or use IN (…) or a join with a VALUES list instead of long chains")
            .at(token.span.start.column as u32))
    };
    // For each open level: operators in its current item, and the depth of the deepest thing inside that item. Set
    // operations nest over all items of their level, so they are counted for the whole statement.
    let mut levels = vec![(0_usize, 0_usize)];
    let mut set_operations = 0;
    let mut run = 0;
    for (at, token) in tokens.iter().enumerate() {
        run = match token.token {
            Token::LParen if run > 0 || at > 0 && before_table(&tokens[at - 1]) => run + 1,
            _ => 0,
        };
        let subquery = tokens.get(at + 1).is_some_and(starts_query);
        if run > PARENTHESES_MAX && !subquery {
            return refuse("parentheses in a row", PARENTHESES_MAX, token);
        }
        match nesting(&token.token) {
            Nesting::Opens => {
                levels.push((0, 0));
                if levels.len() > NESTING_MAX {
                    return refuse("levels of parentheses", NESTING_MAX, token);
                }
            }
            Nesting::Closes if levels.len() > 1 => {
                let (operators, inside) = levels.pop().unwrap_or_default();
                if let Some(level) = levels.last_mut() {
                    level.0 += 1;
                    level.1 = level.1.max(operators + inside);
                }
            }
            Nesting::Item => {
                if let Some(level) = levels.last_mut() {
                    *level = (0, 0);
                }
            }
            Nesting::SetOperation => {
                set_operations += 1;
                if set_operations > DEPTH_MAX {
                    return refuse("set operations", DEPTH_MAX, token);
                }
            }
            Nesting::Operator => {
                if let Some(level) = levels.last_mut() {
                    level.0 += 1;
                }
            }
            _ => {}
        }
        if levels.last().is_some_and(|level| level.0 + level.1 > DEPTH_MAX) {
            return refuse("operators inside each other", DEPTH_MAX, token);
        }
    }
    Ok(())
}

/// Whether a table may follow `token`.
fn before_table(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(word) if matches!(word.keyword, Keyword::FROM | Keyword::JOIN))
        || token.token == Token::Comma
}

fn starts_query(token: &TokenWithSpan) -> bool {
    let Token::Word(word) = &token.token else { return token.token == Token::LParen };
    matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE)
}

enum Nesting {
    Opens,
    Closes,
    Item,
    Operator,
    SetOperation,
    No,
}

fn nesting(token: &Token) -> Nesting {
    match token {
        Token::LParen | Token::LBracket => Nesting::Opens,
        Token::RParen | Token::RBracket => Nesting::Closes,
        Token::Comma => Nesting::Item,
        Token::Word(word) => match word.keyword {
            Keyword::CASE => Nesting::Opens,
            Keyword::END => Nesting::Closes,
            Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS | Keyword::IN | Keyword::LIKE => Nesting::Operator,
            Keyword::COLLATE | Keyword::AT => Nesting::Operator,
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => Nesting::SetOperation,
            _ => Nesting::No,
        },
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::SemiColon => Nesting::No,
        Token::Period | Token::HexStringLiteral(_) | Token::DoubleQuotedString(_) => Nesting::No,
        _ => Nesting::Operator,
    }
}
