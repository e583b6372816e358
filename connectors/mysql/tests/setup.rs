//! What `setup` prints is enough, and no more than enough.

use change::{Beginning, Source, SourceErrorKind, Statement};
use mysql_connector::{MysqlConfig, MysqlSource};
use testbed::mysql::{Conn, Opts, Product, prelude::*};

use crate::database::{Database, PRODUCTS, SOLICITUDES, errors, inspect, scope, solicitudes};

async fn statements(config: &MysqlConfig) -> Vec<Statement> {
    MysqlSource::new(config.clone(), solicitudes()).setup().await.unwrap()
}

#[tokio::test]
async fn a_user_that_does_not_exist_yet_gets_everything_it_needs_and_no_more() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let config = database.config_of(&format!("u_{}", database.name), "una clave");
        let printed = statements(&config).await;
        assert!(printed.iter().all(|statement| !statement.sql.contains("una clave")));
        database.run_printed(&printed, "una clave").await;

        let found = inspect(&config, &solicitudes()).await;
        assert!(errors(&found).is_empty(), "{product}: {:#?}", errors(&found));
        let left: Vec<String> =
            statements(&config).await.into_iter().map(|statement| statement.sql).collect();
        assert!(left.is_empty(), "{product}: {left:?}");
        let source = MysqlSource::new(config.clone(), solicitudes());
        assert!(source.begin(&Beginning::Present).await.unwrap().snapshot.is_some(), "{product}");

        let refused = database.as_user(&config, "SELECT notas FROM solicitudes").await;
        assert!(refused.unwrap_err().contains("denied"), "{product}");
        for statement in [
            "DELETE FROM solicitudes",
            "UPDATE solicitudes SET estado = 'APROBADA'",
            "CREATE TABLE x (a int)",
        ] {
            assert!(database.as_user(&config, statement).await.is_err(), "{product} {statement}");
        }
    }
}

#[tokio::test]
async fn a_user_that_exists_gets_only_what_is_missing() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database
            .run(&[
                "CREATE TABLE `Ventanilla.Unica` (`Id` int PRIMARY KEY, `Número` varchar(20), `Estado d'hoy` \
                    varchar(20), `Notas` text) CHARACTER SET utf8mb4",
            ])
            .await;
        let visible = format!("SELECT (`Id`), REFERENCES ON `{}`.`Ventanilla.Unica`", database.name);
        let config = database.user(&[&visible]).await;
        let scope = scope("\"Ventanilla.Unica\"", &["Número", "Estado d'hoy"]);
        let source = MysqlSource::new(config.clone(), scope.clone());
        let printed = source.setup().await.unwrap();
        let sql: Vec<&str> = printed.iter().map(|statement| statement.sql.as_str()).collect();
        let name = &database.name;
        let mut expected = vec![format!(
            "GRANT SELECT (`Id`, `Número`, `Estado d'hoy`), REFERENCES ON `{name}`.`Ventanilla.Unica` TO `{name}`@`%`"
        )];
        match product {
            Product::MySql => {
                expected
                    .push(format!("GRANT LOCK TABLES ON `{}`.* TO `{name}`@`%`", name.replace('_', "\\_")));
                expected.push(format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `{name}`@`%`"));
            }
            Product::MariaDb => {
                expected.push(format!("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `{name}`@`%`"));
            }
        }
        // Servers name no columns in their log unless they are told to.
        let (grants, settings): (Vec<&str>, Vec<&str>) =
            sql.into_iter().partition(|statement| statement.starts_with("GRANT"));
        assert_eq!(grants, expected);
        assert!(
            settings.len() == 1 && settings[0].contains("binlog_row_metadata = 'FULL'"),
            "{product}: {settings:?}"
        );
        let refused = source.apply(&printed).await.unwrap_err();
        assert_eq!(refused.kind(), SourceErrorKind::Permission, "{refused}");

        database.run_printed(&printed, "").await;
        let found = inspect(&config, &scope).await;
        assert!(errors(&found).is_empty(), "{product}: {:#?}", errors(&found));
        assert_eq!(source.setup().await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_user_without_any_right_is_not_made_anew() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let config = database.user(&[]).await;
        let printed = statements(&config).await;
        // Its password stays the one that it has.
        database.run_printed(&printed, "otra").await;
        let found = inspect(&config, &solicitudes()).await;
        assert!(errors(&found).is_empty(), "{product}: {:#?}", errors(&found));
    }
}

#[tokio::test]
async fn what_is_printed_can_be_applied_by_an_administrator() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        database.run(&[SOLICITUDES]).await;
        let printed = statements(&database.config_of(&format!("v_{}", database.name), "clave")).await;
        let rest: Vec<Statement> = printed
            .into_iter()
            .map(|statement| Statement { sql: statement.sql.replace("<password>", "clave"), ..statement })
            .collect();
        database.source(&solicitudes()).apply(&rest).await.unwrap();
        let config = database.config_of(&format!("v_{}", database.name), "clave");
        let found = inspect(&config, &solicitudes()).await;
        assert!(errors(&found).is_empty(), "{product}: {:#?}", errors(&found));
    }
}

#[tokio::test]
async fn nothing_was_made_that_could_be_taken_away_and_the_account_can_be_locked() {
    for product in PRODUCTS {
        let database = Database::make(product).await;
        let config = database.user(&[]).await;
        let removal = MysqlSource::new(config.clone(), solicitudes()).removal().await.unwrap();
        assert_eq!(removal.statements, [], "{product}");
        let lock = removal.remains.first().unwrap();
        assert_eq!(lock.sql, format!("ALTER USER `{}`@`%` ACCOUNT LOCK", config.user), "{product}");
        database.run(&[&lock.sql]).await;
        assert!(database.as_user(&config, "SELECT 1").await.unwrap_err().contains("locked"), "{product}");
    }
}

impl Database {
    /// Runs a statement as another user; the server's words where it refuses.
    async fn as_user(&self, config: &MysqlConfig, sql: &str) -> Result<(), String> {
        let password = config.password.clone().unwrap_or_default().replace(' ', "%20");
        let url = format!(
            "mysql://{}:{password}@{}:{}/{}?prefer_socket=false",
            config.user, config.host, config.port, config.database
        );
        let opts = Opts::from_url(&url).map_err(|error| error.to_string())?;
        let mut client = Conn::new(opts).await.map_err(|error| error.to_string())?;
        client.query_drop(sql).await.map_err(|error| error.to_string())
    }
}
