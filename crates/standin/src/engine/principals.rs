//! Who may do what in a database.
//!
//! <https://learn.microsoft.com/en-us/sql/relational-databases/security/permissions-database-engine>

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, same};

/// A user of a database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) login: Option<String>,
    pub(crate) roles: Vec<String>,
}

/// A role of a database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) id: i64,
    pub(crate) name: String,
}

/// What a grant is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Securable {
    Database,
    Schema(String),
    /// Schema and name; columns, or all when there are none.
    Object(String, String, Vec<String>),
}

/// A right that was given or denied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) grantee: String,
    /// Upper case, such as `SELECT`.
    pub(crate) permission: String,
    pub(crate) on: Securable,
    pub(crate) denied: bool,
}

/// Someone who is connected to a database.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    pub(crate) user: String,
    /// A member of `sysadmin`, for whom nothing is checked.
    pub(crate) sysadmin: bool,
}

impl Principal {
    pub(crate) fn owner(&self, catalog: &Catalog) -> bool {
        self.sysadmin || same(&self.user, "dbo") || self.in_role(catalog, "db_owner")
    }

    /// Is this user a member of `role`? Everybody is of `public`.
    pub(crate) fn in_role(&self, catalog: &Catalog, role: &str) -> bool {
        same(role, "public")
            || catalog
                .users
                .iter()
                .any(|user| same(&user.name, &self.user) && user.roles.iter().any(|known| same(known, role)))
    }

    /// May this user do `permission` with a table?
    pub(crate) fn may(&self, catalog: &Catalog, permission: &str, schema: &str, table: &str) -> bool {
        self.may_column(catalog, permission, (schema, table), None)
    }

    /// May this user do `permission` with a column, or with all of a table?
    pub(crate) fn may_column(
        &self,
        catalog: &Catalog,
        permission: &str,
        (schema, table): (&str, &str),
        column: Option<&str>,
    ) -> bool {
        if self.owner(catalog) {
            return true;
        }
        let covers = |grant: &&Grant| {
            let granted = grant.permission == permission || (!grant.denied && grant.permission == "CONTROL");
            granted
                && (same(&grant.grantee, &self.user) || self.in_role(catalog, &grant.grantee))
                && match &grant.on {
                    Securable::Database => true,
                    Securable::Schema(name) => same(name, schema),
                    Securable::Object(of, name, columns) => {
                        same(of, schema)
                            && same(name, table)
                            && (columns.is_empty()
                                || column
                                    .is_some_and(|wanted| columns.iter().any(|known| same(known, wanted))))
                    }
                }
        };
        let mut found = catalog.grants.iter().filter(covers).peekable();
        if found.peek().is_some() {
            return found.all(|grant| !grant.denied);
        }
        match permission {
            "SELECT" => self.in_role(catalog, "db_datareader"),
            "INSERT" | "UPDATE" | "DELETE" => self.in_role(catalog, "db_datawriter"),
            "ALTER" | "CREATE TABLE" => self.in_role(catalog, "db_ddladmin"),
            _ => false,
        }
    }

    /// Has this user a right on the database as a whole?
    pub(crate) fn may_database(&self, catalog: &Catalog, permission: &str) -> bool {
        if self.owner(catalog) {
            return true;
        }
        let mut found = catalog.grants.iter().filter(|grant| {
            grant.on == Securable::Database
                && grant.permission == permission
                && (same(&grant.grantee, &self.user) || self.in_role(catalog, &grant.grantee))
        });
        found.next().is_some_and(|grant| !grant.denied)
    }
}
