//! Logins, users, roles and rights.

use super::Session;
use crate::engine::catalog::same;
use crate::engine::principals::{Grant, Role, Securable, User};
use crate::server::state::LoginEntry;
use crate::sql::error::SqlError;

impl Session {
    pub(super) fn run_rights(&mut self, words: &[String]) -> Result<(), SqlError> {
        let catalog = self.database.catalog();
        if !self.principal.owner(&catalog) {
            return Err(SqlError::new(
                15_247,
                16,
                1,
                "User does not have permission to perform this action.",
            ));
        }
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        match all.as_slice() {
            ["CREATE", "LOGIN", name, "WITH", "PASSWORD", "=", password, ..] => {
                self.create_login(name, password)
            }
            ["ALTER", "LOGIN", name, "WITH", "PASSWORD", "=", password, ..] => {
                self.login(name, |login| (*password).clone_into(&mut login.password))
            }
            ["DROP", "LOGIN", name] => self.administrator()?.change_logins(|logins| {
                logins.retain(|login| !same(&login.name, name));
                Ok(())
            }),
            ["ALTER", "SERVER", "ROLE", role, "ADD", "MEMBER", name] if same(role, "sysadmin") => {
                self.login(name, |login| login.sysadmin = true)
            }
            // A user of one database, with a password of its own.
            ["CREATE", "USER", name, "WITH", "PASSWORD", "=", password, ..] if self.server.is_azure() => {
                self.create_login(name, password)?;
                self.create_user(name, Some((*name).to_owned()))
            }
            ["CREATE", "LOGIN", ..] if self.server.is_azure() && self.database.id != 1 => {
                Err(SqlError::new(5001, 16, 2, "User must be in the master database."))
            }
            ["CREATE", "USER", name, rest @ ..] => {
                let login = match rest {
                    [] => Some((*name).to_owned()),
                    ["FOR" | "FROM", "LOGIN", login, ..] => Some((*login).to_owned()),
                    ["WITHOUT", "LOGIN"] => None,
                    other => return Err(SqlError::syntax(other.join(" "))),
                };
                self.create_user(name, login)
            }
            ["DROP", "USER", name] => self.change_users(|users| users.retain(|user| !same(&user.name, name))),
            ["CREATE", "ROLE", name, ..] => self.create_role(name),
            ["ALTER", "ROLE", role, "ADD", "MEMBER", name] => self.membership(role, name, true),
            ["ALTER", "ROLE", role, "DROP", "MEMBER", name] => self.membership(role, name, false),
            [verb @ ("GRANT" | "DENY" | "REVOKE"), rest @ ..] => self.right(verb, rest),
            other => Err(SqlError::not_modelled(other.join(" "))),
        }
    }

    fn administrator(&self) -> Result<&crate::server::state::ServerState, SqlError> {
        if self.sysadmin {
            return Ok(&self.server);
        }
        Err(SqlError::new(15_247, 16, 1, "User does not have permission to perform this action."))
    }

    fn create_login(&self, name: &str, password: &str) -> Result<(), SqlError> {
        self.administrator()?.change_logins(|logins| {
            if logins.iter().any(|login| same(&login.name, name)) {
                return Err(SqlError::new(
                    15_025,
                    16,
                    1,
                    format!("The server principal '{name}' already exists."),
                ));
            }
            logins.push(LoginEntry {
                name: name.to_owned(),
                password: password.to_owned(),
                sysadmin: false,
                grants: Vec::new(),
            });
            Ok(())
        })
    }

    fn login(&self, name: &str, change: impl FnOnce(&mut LoginEntry)) -> Result<(), SqlError> {
        self.administrator()?.change_logins(|logins| {
            let login = logins.iter_mut().find(|login| same(&login.name, name));
            change(login.ok_or_else(|| missing(name))?);
            Ok(())
        })
    }

    fn change_users(&mut self, change: impl Fn(&mut Vec<User>)) -> Result<(), SqlError> {
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                change(&mut catalog.users);
                Ok(())
            })
        })
    }

    fn create_user(&mut self, name: &str, login: Option<String>) -> Result<(), SqlError> {
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                if catalog.users.iter().any(|user| same(&user.name, name)) {
                    let message =
                        format!("User, group, or role '{name}' already exists in the current database.");
                    return Err(SqlError::new(15_023, 16, 1, message));
                }
                let id = next_principal(&catalog.users, &catalog.roles);
                catalog.users.push(User {
                    id,
                    name: name.to_owned(),
                    login: login.clone(),
                    roles: Vec::new(),
                });
                Ok(())
            })
        })
    }

    fn create_role(&mut self, name: &str) -> Result<(), SqlError> {
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                if catalog.roles.iter().any(|role| same(&role.name, name)) {
                    let message =
                        format!("User, group, or role '{name}' already exists in the current database.");
                    return Err(SqlError::new(15_023, 16, 1, message));
                }
                let id = next_principal(&catalog.users, &catalog.roles);
                catalog.roles.push(Role { id, name: name.to_owned() });
                Ok(())
            })
        })
    }

    fn membership(&mut self, role: &str, name: &str, member: bool) -> Result<(), SqlError> {
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                if !catalog.roles.iter().any(|known| same(&known.name, role)) {
                    return Err(missing(role));
                }
                let user = catalog.users.iter_mut().find(|user| same(&user.name, name));
                let user = user.ok_or_else(|| missing(name))?;
                user.roles.retain(|known| !same(known, role));
                if member {
                    user.roles.push(role.to_owned());
                }
                Ok(())
            })
        })
    }

    /// `GRANT SELECT (a, b) ON dbo.t TO name`
    fn right(&mut self, verb: &str, words: &[&str]) -> Result<(), SqlError> {
        let mark = if verb == "REVOKE" { &["FROM", "TO"][..] } else { &["TO"][..] };
        let at = words.iter().rposition(|word| mark.contains(word)).ok_or_else(|| SqlError::syntax(verb))?;
        let (what, grantee) = words.split_at(at);
        let [_, grantee, ..] = grantee else { return Err(SqlError::syntax(verb)) };
        let on_at = what.iter().position(|word| *word == "ON");
        let (rights, on) = what.split_at(on_at.unwrap_or(what.len()));
        // Columns may stand after the right, or after the table.
        let (rights, mut columns) = without_columns(rights);
        let (on, more) = without_columns(on);
        columns.extend(more);
        let joined = rights.join(" ").to_uppercase();
        let rights: Vec<String> = joined.split(',').map(|right| right.trim().to_owned()).collect();
        let on = securable(on, columns)?;
        if on == Securable::Database
            && rights.iter().any(|right| right.contains("SERVER") || right.contains("ANY DATABASE"))
        {
            return self.server_rights(verb, &rights, grantee);
        }
        self.define(|session, _| {
            session.database.change_catalog(&session.connection, |catalog| {
                let known = catalog.users.iter().any(|user| same(&user.name, grantee))
                    || catalog.roles.iter().any(|role| same(&role.name, grantee));
                if !known {
                    return Err(missing(grantee));
                }
                for right in &rights {
                    catalog.grants.retain(|grant| {
                        !(same(&grant.grantee, grantee) && grant.permission == *right && grant.on == on)
                    });
                    if verb != "REVOKE" {
                        catalog.grants.push(Grant {
                            grantee: (*grantee).to_owned(),
                            permission: right.clone(),
                            on: on.clone(),
                            denied: verb == "DENY",
                        });
                    }
                }
                Ok(())
            })
        })
    }

    fn server_rights(&self, verb: &str, rights: &[String], grantee: &str) -> Result<(), SqlError> {
        self.login(grantee, |login| {
            for right in rights {
                login.grants.retain(|known| known != right);
                if verb == "GRANT" {
                    login.grants.push(right.clone());
                }
            }
        })
    }
}

/// What stands before parentheses, and the names inside them.
fn without_columns<'a>(words: &'a [&'a str]) -> (&'a [&'a str], Vec<String>) {
    let open = words.iter().position(|word| *word == "(").unwrap_or(words.len());
    let (before, inside) = words.split_at(open);
    let names = inside.iter().filter(|word| !matches!(**word, "(" | ")" | ","));
    (before, names.map(|name| (*name).to_owned()).collect())
}

fn missing(name: &str) -> SqlError {
    let message = format!(
        "Cannot find the principal '{name}', because it does not exist or you do not have permission."
    );
    SqlError::new(15_151, 16, 1, message)
}

fn next_principal(users: &[User], roles: &[Role]) -> i64 {
    let own = roles.iter().map(|role| role.id).filter(|id| *id < 16_384);
    users.iter().map(|user| user.id).chain(own).max().unwrap_or(5).max(5) + 1
}

/// What stands after ON: nothing, `SCHEMA::name`, `OBJECT::schema.name` or a name.
fn securable(words: &[&str], columns: Vec<String>) -> Result<Securable, SqlError> {
    let names: Vec<&str> =
        words.iter().skip(1).copied().filter(|word| !matches!(*word, "." | ":" | "::")).collect();
    match names.as_slice() {
        [] => Ok(Securable::Database),
        ["SCHEMA", name] => Ok(Securable::Schema((*name).to_owned())),
        ["DATABASE", _] => Ok(Securable::Database),
        ["OBJECT", schema, name] | [schema, name] => {
            Ok(Securable::Object((*schema).to_owned(), (*name).to_owned(), columns))
        }
        [name] => Ok(Securable::Object("dbo".to_owned(), (*name).to_owned(), columns)),
        other => Err(SqlError::syntax(other.join(" "))),
    }
}
