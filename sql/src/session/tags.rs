//! Values of TAGS and SET TAG in the types of the super table.

use datafusion::common::ScalarValue;
use model::schema::{Column, Relation};
use model::{ColumnId, Precision, Result, Value, error};
use sqlparser::ast::{self, Expr};

use super::Session;
use crate::literal;
use crate::statement::Using;

impl Session {
    /// The tags of `USING … TAGS`: tag and value, those that are NULL left out.
    ///
    /// # Errors
    ///
    /// `UndefinedColumn`, `DuplicateColumn`, `SyntaxError` for the wrong number, and what reading a value refuses.
    pub(super) async fn tag_values(
        &self,
        stable: &Relation,
        using: &Using,
        precision: Precision,
    ) -> Result<Vec<(ColumnId, Value)>> {
        let mut given = self.given_tags(stable, using, precision).await?;
        given.retain(|(_, value)| *value != Value::Null);
        Ok(given)
    }

    /// Every tag that is named, with its value.
    pub(super) async fn given_tags(
        &self,
        stable: &Relation,
        using: &Using,
        precision: Precision,
    ) -> Result<Vec<(ColumnId, Value)>> {
        let tags = named_tags(stable, using)?;
        if tags.len() != using.values.len() {
            let what = if using.values.len() > tags.len() { "more" } else { "fewer" };
            return Err(error!(
                SyntaxError,
                "TAGS has {what} values than tags ({} for {})",
                using.values.len(),
                tags.len()
            )
            .at(using.opens));
        }
        let mut values = Vec::with_capacity(tags.len());
        for (i, (tag, expr)) in tags.into_iter().zip(&using.values).enumerate() {
            let position = using.positions.get(i).copied().filter(|position| *position > 0);
            let value = self.tag_value(tag, expr, precision).await;
            let value = value.map_err(|error| match position {
                Some(position) if error.fields().position.is_none() => error.at(position),
                _ => error,
            })?;
            values.push((tag.id, value));
        }
        Ok(values)
    }

    async fn tag_value(&self, tag: &Column, expr: &Expr, precision: Precision) -> Result<Value> {
        let text = match literal_text(expr) {
            Some(text) => text,
            None => {
                let mut select = self.internal_select("SELECT 1")?;
                select.projection = vec![ast::SelectItem::UnnamedExpr(expr.clone())];
                let batches = self.run_internal(select, Vec::new()).await?;
                let array = batches.iter().find(|batch| batch.num_rows() > 0).map(|batch| batch.column(0));
                let Some(array) = array else { return Ok(Value::Null) };
                let value = ScalarValue::try_from_array(array, 0).map_err(model::Error::internal)?;
                crate::pgvalue::scalar_text(&value, &std::sync::Arc::new(self.value_settings()))?
            }
        };
        let Some(text) = text else { return Ok(Value::Null) };
        literal::value(literal::Literal::Text(&text), tag.data_type, precision, &self.reading())
    }
}

fn named_tags<'a>(stable: &'a Relation, using: &Using) -> Result<Vec<&'a Column>> {
    let Some(names) = &using.tags else { return Ok(stable.tags.iter().collect()) };
    let mut tags: Vec<&Column> = Vec::with_capacity(names.len());
    for name in names {
        let tag = stable.tag(&name.name).ok_or_else(|| {
            error!(UndefinedColumn, "tag \"{}\" of relation \"{}\" does not exist", name.name, stable.name)
                .at(name.position)
        })?;
        if tags.iter().any(|known| known.id == tag.id) {
            return Err(error!(DuplicateColumn, "tag \"{}\" specified more than once", name.name).at(name.position));
        }
        tags.push(tag);
    }
    Ok(tags)
}

/// The text of a literal; `Some(None)` for NULL, None if it is no literal.
fn literal_text(expr: &Expr) -> Option<Option<String>> {
    match expr {
        Expr::Value(value) => match &value.value {
            ast::Value::Number(text, _)
            | ast::Value::SingleQuotedString(text)
            | ast::Value::DoubleQuotedString(text) => Some(Some(text.clone())),
            ast::Value::Boolean(yes) => Some(Some(yes.to_string())),
            ast::Value::Null => Some(None),
            _ => None,
        },
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => match literal_text(expr)? {
            Some(text) if !text.starts_with('-') => Some(Some(format!("-{text}"))),
            _ => None,
        },
        _ => None,
    }
}
