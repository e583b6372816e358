//! The questions to the catalogue, which work on every supported version.

use change::{SourceError, TableScope};
use tokio_postgres::Row;

use super::{Column, Generated, Kind, Leaf, Lookup, MissingColumn, ReplicaIdentity, Table};
use crate::name::{configured_part, parse_table_name};
use crate::session::{Session, sql_error};
use change::nearest::nearest;

/// The type oid of `text`, which stands for every enumeration as well.
const TEXT_OID: u32 = 25;

/// Looks the table up without judging it.
///
/// # Errors
/// When the name cannot be read, or the catalogue cannot.
pub(crate) async fn look_up(session: &Session, scope: &TableScope) -> Result<Lookup, SourceError> {
    let (schema, name) = parse_table_name(&scope.table)?;
    let Some(relation) = relation(session, &schema, &name).await? else {
        let similar = similar_tables(session, &name).await?;
        return Ok(Lookup::Absent { schema, name, similar });
    };
    let all_columns = columns(session, relation.oid).await?;
    let leaves = leaves(session, relation.oid).await?;
    let pick = |wanted: &str| all_columns.iter().find(|column| column.name == wanted).cloned();
    let missing = scope
        .columns
        .iter()
        .filter(|wanted| pick(wanted).is_none())
        .map(|wanted| MissingColumn {
            name: wanted.clone(),
            similar: nearest(wanted, all_columns.iter().map(|column| column.name.as_str())),
        })
        .collect();
    let table = Table {
        columns: scope.columns.iter().filter_map(|wanted| pick(wanted)).collect(),
        key: relation.key.iter().filter_map(|name| pick(name)).collect(),
        oid: relation.oid,
        schema,
        name,
        kind: relation.kind,
        identity: relation.identity,
        all_columns,
        leaves,
        hides_rows: relation.hides_rows,
        rows_estimate: relation.rows_estimate,
    };
    Ok(Lookup::Found { table: Box::new(table), missing })
}

/// A row of `pg_class`, with its key.
struct Relation {
    oid: u32,
    kind: Kind,
    identity: ReplicaIdentity,
    hides_rows: bool,
    rows_estimate: Option<u64>,
    key: Vec<String>,
}

/// The columns of the index that tells a relation's rows apart, in index order: the chosen replica identity
/// first, else the primary key.
const KEY_COLUMNS: &str = "
    coalesce((SELECT array_agg(a.attname::text ORDER BY k.place)
       FROM (SELECT i.indexrelid, i.indkey, i.indrelid FROM pg_index i
              WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
                AND (i.indisreplident OR (i.indisprimary AND c.relreplident <> 'i'))
              ORDER BY i.indisreplident DESC LIMIT 1) i
       CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum), '{}')";

async fn relation(session: &Session, schema: &str, name: &str) -> Result<Option<Relation>, SourceError> {
    let sql = format!(
        "SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relreplident::text,
                n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast'),
                row_security_active(c.oid),
                (SELECT sum(greatest(leaf.reltuples, -1))::float8 FROM pg_class leaf
                  WHERE leaf.oid = c.oid AND c.relkind <> 'p'
                     OR leaf.oid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf)),
                {KEY_COLUMNS}
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    );
    let context = "read the table's entry in the catalogue";
    let rows = session.query(context, &sql, &[&schema, &name]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let read = |index: usize| row.try_get::<_, String>(index).map_err(|error| sql_error(context, error));
    let system: bool = row.try_get(4).map_err(|error| sql_error(context, error))?;
    let rows_estimate: Option<f64> = row.try_get(6).map_err(|error| sql_error(context, error))?;
    Ok(Some(Relation {
        oid: row.try_get(0).map_err(|error| sql_error(context, error))?,
        kind: Kind::from_catalog(&read(1)?, &read(2)?, system),
        identity: ReplicaIdentity::from_catalog(&read(3)?),
        hides_rows: row.try_get(5).map_err(|error| sql_error(context, error))?,
        rows_estimate: rows_estimate.and_then(whole_rows),
        key: row.try_get(7).map_err(|error| sql_error(context, error))?,
    }))
}

/// The server counts with -1 for "never analysed".
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "negative and not-a-number are excluded, and an estimate may lose digits"
)]
fn whole_rows(estimate: f64) -> Option<u64> {
    (estimate >= 0.0).then_some(estimate as u64)
}

async fn columns(session: &Session, table: u32) -> Result<Vec<Column>, SourceError> {
    let context = "read the table's columns in the catalogue";
    let rows = session
        .query(
            context,
            "SELECT a.attname::text, a.attnum, a.atttypid, base.oid, base.typtype::text,
                    format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage::text <> 'p',
                    a.attgenerated::text
               FROM pg_attribute a
              CROSS JOIN LATERAL (
                WITH RECURSIVE chain AS (
                  SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
                  UNION ALL
                  SELECT t.oid, t.typtype, t.typbasetype
                    FROM chain JOIN pg_type t ON t.oid = chain.typbasetype
                   WHERE chain.typtype = 'd')
                SELECT oid, typtype FROM chain WHERE typtype <> 'd') base
              WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
              ORDER BY a.attnum",
            &[&table],
        )
        .await?;
    rows.iter().map(|row| column(row).map_err(|error| sql_error(context, error))).collect()
}

fn column(row: &Row) -> Result<Column, tokio_postgres::Error> {
    let enumeration = row.try_get::<_, String>(4)? == "e";
    Ok(Column {
        name: row.try_get(0)?,
        attnum: row.try_get(1)?,
        type_oid: row.try_get(2)?,
        base_type_oid: if enumeration { TEXT_OID } else { row.try_get(3)? },
        type_name: row.try_get(5)?,
        not_null: row.try_get(6)?,
        toastable: row.try_get(7)?,
        generated: match row.try_get::<_, String>(8)?.as_str() {
            "" => Generated::No,
            "s" => Generated::Stored,
            _ => Generated::Virtual,
        },
    })
}

async fn leaves(session: &Session, table: u32) -> Result<Vec<Leaf>, SourceError> {
    let context = "read the table's partitions in the catalogue";
    let sql = format!(
        "SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relreplident::text, {KEY_COLUMNS}
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'r'
            AND (c.oid = $1 OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass) WHERE isleaf))
          ORDER BY c.oid"
    );
    let rows = session.query(context, &sql, &[&table]).await?;
    rows.iter().map(|row| leaf(row).map_err(|error| sql_error(context, error))).collect()
}

fn leaf(row: &Row) -> Result<Leaf, tokio_postgres::Error> {
    let identity = ReplicaIdentity::from_catalog(&row.try_get::<_, String>(2)?);
    let index_columns: Vec<String> = row.try_get(3)?;
    let identity_columns = match identity {
        ReplicaIdentity::Default | ReplicaIdentity::Index => index_columns,
        ReplicaIdentity::Nothing | ReplicaIdentity::Full => Vec::new(),
    };
    Ok(Leaf { oid: row.try_get(0)?, quoted: row.try_get(1)?, identity, identity_columns })
}

/// Existing tables whose name is close to `name` in any schema, spelt for the configuration.
async fn similar_tables(session: &Session, name: &str) -> Result<Vec<String>, SourceError> {
    let context = "list the database's tables";
    let rows = session
        .query(
            context,
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = \
             c.relnamespace
              WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
                AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_t%'
              ORDER BY c.oid DESC LIMIT 10000",
            &[],
        )
        .await?;
    let mut tables = Vec::with_capacity(rows.len());
    for row in &rows {
        let pair: Result<(String, String), _> =
            row.try_get(0).and_then(|schema| Ok((schema, row.try_get(1)?)));
        tables.push(pair.map_err(|error| sql_error(context, error))?);
    }
    let close = nearest(name, tables.iter().map(|(_, table)| table.as_str()));
    let mut similar = Vec::new();
    for wanted in &close {
        for (schema, table) in tables.iter().filter(|(_, table)| table == wanted) {
            similar.push(format!("{}.{}", configured_part(schema), configured_part(table)));
        }
    }
    similar.truncate(3);
    Ok(similar)
}
