//! The functions that answer changes: all of them, or the net of them.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/system-functions/cdc-fn-cdc-get-all-changes-capture-instance-transact-sql>
//! <https://learn.microsoft.com/en-us/sql/relational-databases/system-functions/cdc-fn-cdc-get-net-changes-capture-instance-transact-sql>

use rusqlite::OptionalExtension;

use crate::bind::Facts;
use crate::engine::catalog::{Catalog, Instance, same};
use crate::engine::lsn;
use crate::sql::convert::convert;
use crate::sql::datatype::SqlType;
use crate::sql::error::SqlError;
use crate::sql::value::Value;

/// A SELECT for the rows between two log sequence numbers, `{from}` and `{to}`.
pub(crate) struct ChangeRows {
    pub(crate) sql: String,
    pub(crate) columns: Vec<(String, SqlType)>,
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
}

/// May the reader see the changes of an instance: SELECT on every captured column, and the gating role?
pub(crate) fn may_read(facts: &Facts<'_>, catalog: &Catalog, instance: &Instance) -> bool {
    let principal = facts.principal;
    if principal.owner(catalog) {
        return true;
    }
    let Some(source) = catalog.tables.get(&instance.source) else { return false };
    let place = (source.schema.as_str(), source.name.as_str());
    let columns = instance
        .columns
        .iter()
        .all(|(_, name, _)| principal.may_column(catalog, "SELECT", place, Some(name)));
    columns && instance.role.as_deref().is_none_or(|role| principal.in_role(catalog, role))
}

impl ChangeRows {
    /// The rows that a call of `function` answers.
    ///
    /// # Errors
    /// 208 when there is no such function, 229 when the caller may not call it, 313 for bounds outside the
    /// interval that the instance covers.
    pub(crate) fn of(
        facts: &Facts<'_>,
        catalog: &Catalog,
        function: &str,
        args: &[(SqlType, Value)],
    ) -> Result<ChangeRows, SqlError> {
        let lower = function.to_lowercase();
        let (net, name) = match (
            lower.strip_prefix("fn_cdc_get_all_changes_"),
            lower.strip_prefix("fn_cdc_get_net_changes_"),
        ) {
            (Some(name), _) => (false, name),
            (_, Some(name)) => (true, name),
            _ => return Err(SqlError::invalid_object(format!("cdc.{function}"))),
        };
        let instance = catalog
            .instance(name)
            .filter(|instance| !net || instance.net_changes)
            .ok_or_else(|| SqlError::invalid_object(format!("cdc.{function}")))?;
        if !may_read(facts, catalog, instance) {
            return Err(SqlError::denied("SELECT", function, &facts.database.name, "cdc"));
        }
        let insufficient = || insufficient(net);
        let [(from_type, from), (to_type, to), (_, option)] = args else { return Err(insufficient()) };
        let bound = |value: &Value, of: SqlType| match convert(value, of, SqlType::LSN, 0) {
            Ok(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        let (Some(from), Some(to)) = (bound(from, *from_type), bound(to, *to_type)) else {
            return Err(insufficient());
        };
        let option = option.as_text().unwrap_or_default().to_lowercase();
        let operations = match (net, option.as_str()) {
            (false, "all") => "1, 2, 4",
            (false, "all update old") => "1, 2, 3, 4",
            (true, "all" | "all with mask" | "all with merge") => "1, 2, 4",
            _ => return Err(insufficient()),
        };
        let (low, high) = interval(facts, catalog, instance)?;
        if low.is_none_or(|low| from < low) || high.is_none_or(|high| to > high) || from > to {
            return Err(insufficient());
        }
        let mut columns = vec![("__$start_lsn".to_owned(), SqlType::LSN)];
        if !net {
            columns.push(("__$seqval".to_owned(), SqlType::LSN));
        }
        columns.push(("__$operation".to_owned(), SqlType::Int));
        columns.push(("__$update_mask".to_owned(), SqlType::varbinary(128)));
        columns.extend(instance.columns.iter().map(|(_, name, of)| (name.clone(), *of)));
        let sql = if net { net_sql(instance, &option) } else { all_sql(instance, operations) };
        Ok(ChangeRows { sql, columns, from, to })
    }
}

/// 313: whatever is wrong with the arguments.
fn insufficient(net: bool) -> SqlError {
    let kind = if net { "net" } else { "all" };
    let message = format!(
        "An insufficient number of arguments were supplied for the procedure or function cdc.fn_cdc_get_{kind}_changes_ ... ."
    );
    SqlError::new(313, 16, 3, message)
}

fn all_sql(instance: &Instance, operations: &str) -> String {
    let captured: Vec<String> =
        (0..instance.columns.len()).map(|at| format!("c{} AS c{}", at + 6, at + 5)).collect();
    // The function reads with NOLOCK.
    format!(
        "SELECT c1, c3 AS c2, c4 AS c3, c5 AS c4, {} FROM t{} WHERE vis(_xmin, _xmax, 2) AND c1 BETWEEN {{from}} AND {{to}} AND c4 IN ({operations})",
        captured.join(", "),
        instance.change_table
    )
}

/// One row per key: its last content, or its deletion; keys that came and went are left out.
fn net_sql(instance: &Instance, option: &str) -> String {
    let last = instance.columns.len() + 6;
    let keys: Vec<String> = instance
        .key
        .iter()
        .filter_map(|key| instance.columns.iter().position(|(_, name, _)| same(name, key)))
        .map(|at| format!("c{}", at + 6))
        .collect();
    let keys = keys.join(", ");
    let order = |direction: &str| {
        format!("ORDER BY c1 {direction}, c{last} {direction}, c3 {direction}, c4 {direction}")
    };
    let operation = match option {
        "all with merge" => "CASE c4 WHEN 1 THEN 1 ELSE 5 END",
        _ => "CASE WHEN c4 = 1 THEN 1 WHEN first_op = 2 THEN 2 ELSE 4 END",
    };
    let mask = if option == "all with mask" { "c5" } else { "NULL" };
    let captured: Vec<String> =
        (0..instance.columns.len()).map(|at| format!("c{} AS c{}", at + 6, at + 4)).collect();
    format!(
        "SELECT c1, {operation} AS c2, {mask} AS c3, {} FROM (SELECT *, row_number() OVER (PARTITION BY {keys} {}) AS at, \
         first_value(c4) OVER (PARTITION BY {keys} {}) AS first_op FROM t{} WHERE vis(_xmin, _xmax, 2) AND c1 BETWEEN {{from}} AND {{to}} AND c4 IN (1, 2, 4)) \
         WHERE at = 1 AND NOT (c4 = 1 AND first_op = 2)",
        captured.join(", "),
        order("DESC"),
        order("ASC"),
        instance.change_table
    )
}

type Interval = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The lowest and the highest log sequence number that may be asked for.
fn interval(facts: &Facts<'_>, catalog: &Catalog, instance: &Instance) -> Result<Interval, SqlError> {
    let table = |name: &str| catalog.table("cdc", name).map(crate::engine::catalog::Table::stored);
    let (Some(changes), Some(times)) = (table("change_tables"), table("lsn_time_mapping")) else {
        return Ok((None, None));
    };
    let low = facts
        .connection
        .query_row(
            &format!("SELECT c5 FROM {changes} WHERE c1 = ?1 AND vis(_xmin, _xmax, 0)"),
            [instance.change_table],
            |row| row.get::<_, Option<Vec<u8>>>(0),
        )
        .optional()?
        .flatten();
    let high = facts.connection.query_row(
        &format!("SELECT max(c1) FROM {times} WHERE vis(_xmin, _xmax, 0)"),
        [],
        |row| row.get::<_, Option<Vec<u8>>>(0),
    )?;
    debug_assert!(low.as_ref().is_none_or(|low| low.len() == lsn::WIDTH));
    Ok((low, high))
}
