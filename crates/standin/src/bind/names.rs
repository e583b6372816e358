//! Functions from names to numbers and back.
//!
//! <https://learn.microsoft.com/en-us/sql/t-sql/functions/metadata-functions-transact-sql>

use super::session::Answer;
use super::{Binder, Typed};
use crate::engine::catalog::same;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;

impl Binder<'_> {
    /// Functions whose arguments are known before any row is; `None` when there is none of that name.
    pub(super) fn of_names(&self, name: &str, args: &[Typed]) -> Result<Option<Answer>, SqlError> {
        let known: Vec<&Value> = args.iter().filter_map(|arg| arg.constant.as_ref()).collect();
        let mut texts = known.iter().map(|value| value.as_text().unwrap_or_default().to_owned());
        let first = texts.next().unwrap_or_default();
        let with_constants = ["object_id", "schema_id", "user_id", "suser_id", "quotename", "col_name"];
        if with_constants.contains(&name) && !args.is_empty() && known.len() != args.len() {
            return Err(SqlError::not_modelled(format!("{name} of a column")));
        }
        Ok(match (name, known.as_slice()) {
            ("object_id" | "schema_id", [_]) => Some((self.id_of(name, &first), SqlType::Int)),
            ("user_id" | "database_principal_id", [_]) => {
                let users = self.catalog.users.iter().map(|user| (user.id, &user.name));
                let roles = self.catalog.roles.iter().map(|role| (role.id, &role.name));
                let found = users.chain(roles).find(|(_, known)| same(known, &first));
                Some((found.map_or(Value::Null, |(id, _)| Value::Int(id)), SqlType::Int))
            }
            ("suser_id", [_]) => {
                let id = self.facts.server.login_id(&first).map_or(Value::Null, Value::Int);
                Some((id, SqlType::Int))
            }
            // https://learn.microsoft.com/en-us/sql/t-sql/functions/quotename-transact-sql
            ("quotename", [name]) => {
                let quoted = if name.is_null() || first.chars().count() > 128 {
                    Value::Null
                } else {
                    Value::Text(format!("[{}]", first.replace(']', "]]")))
                };
                Some((quoted, SqlType::nvarchar(258)))
            }
            ("col_name", [table, column]) => {
                let number = |value: &Value| value.as_int();
                let found = number(table).zip(number(column)).and_then(|(table, id)| {
                    let columns = &self.catalog.tables.get(&table)?.columns;
                    columns.iter().find(|column| column.id == id)
                });
                let name = found.map_or(Value::Null, |column| Value::Text(column.name.clone()));
                Some((name, SqlType::NAME))
            }
            // https://learn.microsoft.com/en-us/sql/t-sql/functions/connectionproperty-transact-sql
            ("connectionproperty", [_]) => {
                let value = match first.to_lowercase().as_str() {
                    "net_transport" => Value::from("TCP"),
                    "protocol_type" => Value::from("TSQL"),
                    "auth_scheme" => Value::from("SQL"),
                    _ => Value::Null,
                };
                Some((value, SqlType::Variant))
            }
            _ => None,
        })
    }

    fn id_of(&self, name: &str, wanted: &str) -> Value {
        if name == "schema_id" {
            return self.catalog.schema_id(wanted).map_or(Value::Null, Value::Int);
        }
        let (schema, object) = schema_and_name(wanted);
        self.catalog.table(&schema, &object).map_or(Value::Null, |table| Value::Int(table.id))
    }

    /// Names of objects and schemas by number, for rows of the catalog.
    pub(super) fn name_of(&mut self, name: &str, value: &Typed) -> Option<Typed> {
        let pairs: Vec<(i64, String)> = match name {
            "object_name" => {
                self.catalog.tables.values().map(|table| (table.id, table.name.clone())).collect()
            }
            "object_schema_name" => {
                self.catalog.tables.values().map(|table| (table.id, table.schema.clone())).collect()
            }
            "schema_name" => self.catalog.schemas.clone(),
            _ => return None,
        };
        let mut sql = format!("CASE {}", value.sql);
        for (id, found) in pairs {
            let found = self.constant(Value::Text(found), SqlType::NAME);
            sql.push_str(&format!(" WHEN {id} THEN {}", found.sql));
        }
        Some(Typed::new(format!("{sql} WHEN NULL THEN NULL END"), SqlType::NAME))
    }
}

/// Schema and name of an object in a text; without a schema, `dbo`.
///
/// <https://learn.microsoft.com/en-us/sql/relational-databases/databases/database-identifiers>
pub(super) fn schema_and_name(text: &str) -> (String, String) {
    let mut parts = vec![String::new()];
    let mut closing = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match closing {
            // The closing sign twice is the sign itself.
            Some(close) if letter == close && letters.peek() != Some(&close) => {
                closing = None;
                continue;
            }
            Some(close) if letter == close => {
                letters.next();
            }
            Some(_) => {}
            None if letter == '[' => {
                closing = Some(']');
                continue;
            }
            None if letter == '"' => {
                closing = Some('"');
                continue;
            }
            None if letter == '.' => {
                parts.push(String::new());
                continue;
            }
            None => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let name = parts.pop().unwrap_or_default();
    let schema = parts.pop().filter(|schema| !schema.is_empty()).unwrap_or_else(|| "dbo".to_owned());
    (schema, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_texts_are_read_with_and_without_quotes() {
        for (text, schema, name) in [
            ("t", "dbo", "t"),
            ("otra.t", "otra", "t"),
            ("[dbo].[a [b]].c]", "dbo", "a [b].c"),
            ("base..\"a\"\"b\"", "dbo", "a\"b"),
            ("base.[otra].t", "otra", "t"),
        ] {
            assert_eq!(schema_and_name(text), (schema.to_owned(), name.to_owned()), "{text}");
        }
    }
}
