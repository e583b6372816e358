//! Log-ins, types, long answers, errors and broken connections.

use std::time::{Duration, Instant};

use standin::{Action, Command, Fault};
use tiberius::AuthMethod;

use crate::support::{config, connect, error, numbers, options, rows, run, started, try_connect};

#[tokio::test]
async fn log_ins_that_fail_say_why() {
    let server = started(options());
    let refused = |config| async move { try_connect(config).await.err().and_then(|error| error.code()) };
    let mut wrong = config(server.port());
    wrong.authentication(AuthMethod::sql_server("sa", "wrong"));
    assert_eq!(refused(wrong).await, Some(18_456));
    let mut nowhere = config(server.port());
    nowhere.database("nada");
    assert_eq!(refused(nowhere).await, Some(4060));
    server.control(Command::Fault(Fault::once("sa", Action::RefuseLogin(40_613)))).unwrap();
    assert_eq!(refused(config(server.port())).await, Some(40_613));
    connect(server.port()).await;
}

#[tokio::test]
async fn every_type_survives_a_table() {
    let server = started(options());
    let mut client = connect(server.port()).await;
    let columns = [
        ("bit", "1"),
        ("tinyint", "255"),
        ("smallint", "-32768"),
        ("int", "-2147483648"),
        ("bigint", "9223372036854775807"),
        ("decimal(38,4)", "-1234567890123456789012345678901234.5678"),
        ("numeric(5,2)", "1.005"),
        ("money", "922337203685477.5807"),
        ("real", "1.5"),
        ("float", "1e300"),
        ("date", "'2024-02-29'"),
        ("time(3)", "'23:59:59.999'"),
        ("smalldatetime", "'2024-02-29 12:00:31'"),
        ("datetime", "'2024-02-29T12:00:00.995'"),
        ("datetime2(7)", "'9999-12-31 23:59:59.9999999'"),
        ("datetimeoffset(2)", "'2024-02-29 12:00:00.12 -04:00'"),
        ("uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'"),
        ("char(4)", "'ab'"),
        ("varchar(max)", "REPLICATE(CAST('x' AS varchar(max)), 20000)"),
        ("nchar(3)", "N'ñ'"),
        ("nvarchar(20)", "N'señal 🦜'"),
        ("binary(4)", "0x0102"),
        ("varbinary(max)", "0x00FF"),
    ];
    let names: Vec<String> = (0..columns.len()).map(|at| format!("v{at}")).collect();
    let list = names.join(", ");
    let declared: Vec<String> =
        names.iter().zip(columns).map(|(name, (of, _))| format!("{name} {of} NULL")).collect();
    let values: Vec<&str> = columns.iter().map(|(_, value)| *value).collect();
    let nulls = vec!["NULL"; columns.len()].join(", ");
    run(&mut client, &format!("CREATE TABLE todo ({})", declared.join(", "))).await;
    run(&mut client, &format!("INSERT INTO todo ({list}) VALUES ({}), ({nulls})", values.join(", "))).await;
    let found = rows(&mut client, &format!("SELECT {list} FROM todo ORDER BY v3 DESC")).await;
    assert!(found[1].iter().all(|cell| cell.contains("(None)")), "{:?}", found[1]);
    let cast: Vec<String> =
        names.iter().map(|name| format!("CONVERT(nvarchar(60), {name}, 121) AS {name}")).collect();
    let dated: Vec<String> =
        cast.into_iter().enumerate().filter(|(at, _)| (10..=16).contains(at)).map(|(_, c)| c).collect();
    let text =
        rows(&mut client, &format!("SELECT TOP (1) {} FROM todo ORDER BY v3 DESC", dated.join(", "))).await;
    let expected = [
        "2024-02-29",
        "23:59:59.999",
        "2024-02-29 12:01:00.000",
        "2024-02-29 12:00:00.997",
        "9999-12-31 23:59:59.9999999",
        "2024-02-29 12:00:00.12 -04:00",
        "6F9619FF-8B86-D011-B42D-00C04FC964FF",
    ];
    for (cell, expected) in text[0].iter().zip(expected) {
        assert!(cell.contains(&format!("\"{expected}\"")), "{cell}, expected {expected}");
    }
    let row = client
        .query("SELECT v4, v9, v16, v18, v20, v21, v6 FROM todo WHERE v3 = @P1", &[&i32::MIN])
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), Some(i64::MAX));
    assert_eq!(row.get::<f64, _>(1), Some(1e300));
    assert_eq!(row.get::<tiberius::Uuid, _>(2).unwrap().to_string().to_uppercase(), expected[6]);
    assert_eq!(row.get::<&str, _>(3).unwrap().len(), 20_000);
    assert_eq!(row.get::<&str, _>(4), Some("señal 🦜"));
    assert_eq!(row.get::<&[u8], _>(5), Some([1u8, 2, 0, 0].as_slice()));
    assert_eq!(row.get::<tiberius::numeric::Numeric, _>(6).unwrap().value(), 101);
}

#[tokio::test]
async fn a_long_answer_comes_whole_in_order_and_in_the_packets_agreed_on() {
    let server = started(options());
    let mut client = connect(server.port()).await;
    run(&mut client, "INSERT INTO solicitud VALUES (0, 'a', 1, N'x')").await;
    for step in 0..15 {
        let by = 1 << step;
        run(
            &mut client,
            &format!("INSERT INTO solicitud SELECT id + {by}, servicio, estado, nota FROM solicitud"),
        )
        .await;
    }
    let found = numbers(&mut client, "SELECT id FROM solicitud ORDER BY id").await;
    assert_eq!(found, (0..32_768).collect::<Vec<i32>>());
    let counted = client
        .query("SELECT COUNT(*) FROM solicitud WHERE id >= @P1 AND id < @P2", &[&100i32, &200i64])
        .await
        .unwrap()
        .into_row()
        .await
        .unwrap();
    assert_eq!(counted.unwrap().get::<i32, _>(0), Some(100));
}

#[tokio::test]
async fn what_cannot_be_run_is_an_error_and_the_connection_stays() {
    let server = started(options());
    let mut client = connect(server.port()).await;
    for (sql, number) in [
        ("SELEC 1", 102),
        ("SELECT 1 FROM", 102),
        ("SELECT nope FROM solicitud", 207),
        ("SELECT * FROM nada", 208),
        ("SELECT t.x FROM solicitud s", 4104),
        ("SELECT nada(1)", 195),
        ("SELECT 1/0", 8134),
        ("SELECT CAST('x' AS int)", 245),
        ("SELECT CAST('2024-99-01' AS datetime)", 241),
        ("SELECT @x", 137),
        ("SELECT id, COUNT(*) FROM solicitud", 8120),
        ("SELECT * INTO y FROM solicitud", 102),
        ("EXEC dbo.nada", 2812),
        ("INSERT INTO solicitud (id, servicio) VALUES (1, 'a')", 515),
        ("INSERT INTO solicitud VALUES (1, 'demasiado largo para ello', 1, NULL)", 2628),
        ("USE nada", 911),
        ("COMMIT", 3902),
        ("SELECT * FROM solicitud WITH (TABLOCKX)", 102),
    ] {
        assert_eq!(error(&mut client, sql).await, number, "{sql}");
    }
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await;
    assert_eq!(error(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL)").await, 2627);
    assert_eq!(numbers(&mut client, "SELECT COUNT(*) FROM solicitud").await, [1]);
    let failed =
        client.simple_query("SELECT 1\nSELECT nope").await.unwrap().into_results().await.unwrap_err();
    let tiberius::error::Error::Server(token) = failed else { panic!("{failed}") };
    assert_eq!((token.code(), token.class(), token.state(), token.line()), (207, 16, 1, 2));
}

#[tokio::test]
async fn faults_delay_fail_and_cut_an_answer_in_the_middle_of_a_row() {
    let server = started(options());
    let mut client = connect(server.port()).await;
    run(&mut client, "INSERT INTO solicitud VALUES (1, 'a', 1, NULL), (2, 'b', 1, NULL), (3, 'c', 1, NULL)")
        .await;
    server.control(Command::Fault(Fault::once("servicio", Action::Fail(1205)).after(1))).unwrap();
    assert_eq!(error(&mut client, "SELECT servicio FROM solicitud").await, 0);
    assert_eq!(error(&mut client, "SELECT servicio FROM solicitud").await, 1205);
    let delay = Duration::from_millis(300);
    server.control(Command::Fault(Fault::once("servicio", Action::Delay(delay)))).unwrap();
    let begun = Instant::now();
    run(&mut client, "SELECT servicio FROM solicitud").await;
    assert!(begun.elapsed() >= delay);
    let before = Action::Before("DELETE FROM solicitud WHERE id = 3".to_owned());
    server.control(Command::Fault(Fault::once("servicio", before))).unwrap();
    assert_eq!(numbers(&mut client, "SELECT id, servicio FROM solicitud ORDER BY id").await, [1, 2]);
    server.control(Command::Fault(Fault::once("servicio", Action::CutAfterRows(1)))).unwrap();
    let cut = async { client.simple_query("SELECT servicio FROM solicitud").await?.into_results().await };
    let outcome = tokio::time::timeout(Duration::from_secs(5), cut).await;
    assert!(!matches!(outcome, Ok(Ok(_))), "a cut answer must not look whole");
}
