use proptest::prelude::*;

use super::*;
use crate::catalog::{Column, Generated, Kind, ReplicaIdentity, Table};

/// What PostgreSQL 15 sent for this SQL, through `pg_logical_slot_get_binary_changes`:
///
/// ```sql
/// CREATE TYPE fase AS ENUM ('RECIBIDA','APROBADA');
/// CREATE TABLE solicitudes (id int PRIMARY KEY, fase fase, nota text, apertura timestamp);
/// ALTER TABLE solicitudes ALTER nota SET STORAGE EXTERNAL;
/// BEGIN;
/// INSERT INTO solicitudes VALUES (1, 'RECIBIDA', repeat('x', 3000), '2024-05-01 10:00:00.25');
/// UPDATE solicitudes SET fase = 'APROBADA';
/// UPDATE solicitudes SET id = 2, nota = NULL;
/// COMMIT;
/// ALTER TABLE solicitudes REPLICA IDENTITY FULL;
/// BEGIN;
/// UPDATE solicitudes SET fase = 'RECIBIDA';
/// DELETE FROM solicitudes;
/// SELECT pg_logical_emit_message(true, 'aviso', 'hola');
/// TRUNCATE solicitudes;
/// COMMIT;
/// ```
///
/// `{nota}` stands for the 3000 letters.
const CAPTURED: [&str; 16] = [
    "42000000004d458d20000303d395a70550000006d3",
    "59000040127075626c6963006661736500",
    "52000040177075626c696300736f6c6963697475646573006400040169640000000017ffffffff00666173650000004012ffffffff\
     006e6f74610000000019ffffffff006170657274757261000000045affffffff",
    "49000040174e0004740000000131740000000852454349424944417400000bb8{nota}\
     7400000016323032342d30352d30312031303a30303a30302e3235",
    "55000040174e000474000000013174000000084150524f42414441757400000016323032342d30352d30312031303a30303a30302e3235",
    "55000040174b00047400000001316e6e6e4e000474000000013274000000084150524f424144416e7400000016323032342d30352d\
     30312031303a30303a30302e3235",
    "4300000000004d458d20000000004d458d50000303d395a70550",
    "42000000004d459b90000303d395a70b63000006d5",
    "59000040127075626c6963006661736500",
    "52000040177075626c696300736f6c6963697475646573006600040169640000000017ffffffff01666173650000004012ffffffff\
     016e6f74610000000019ffffffff016170657274757261000000045affffffff",
    "55000040174f000474000000013274000000084150524f424144416e7400000016323032342d30352d30312031303a30303a30302e3235\
     4e0004740000000132740000000852454349424944416e7400000016323032342d30352d30312031303a30303a30302e3235",
    "44000040174f0004740000000132740000000852454349424944416e7400000016323032342d30352d30312031303a30303a30302e3235",
    "4d01000000004d459000617669736f0000000004686f6c61",
    "52000040177075626c696300736f6c6963697475646573006600040169640000000017ffffffff01666173650000004012ffffffff\
     016e6f74610000000019ffffffff016170657274757261000000045affffffff",
    "54000000010000004017",
    "4300000000004d459b90000000004d459d00000303d395a70b63",
];

fn captured() -> Vec<Vec<u8>> {
    let nota = "78".repeat(3000);
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16).unwrap()).unwrap();
    let bytes = |text: &str| {
        let text = text.replace("{nota}", &nota);
        text.as_bytes().as_chunks().0.iter().map(|[high, low]| digit(high) << 4 | digit(low)).collect()
    };
    CAPTURED.iter().map(|text| bytes(text)).collect()
}

/// The enumeration's oid in the captured bytes.
const FASE: u32 = 0x4012;

fn table(mapped: &[&str]) -> Table {
    let columns: Vec<Column> =
        [("id", 23, 23), ("fase", FASE, 25), ("nota", 25, 25), ("apertura", 1114, 1114)]
            .into_iter()
            .zip(1..)
            .map(|((name, type_oid, base_type_oid), attnum)| Column {
                name: name.to_owned(),
                attnum,
                type_oid,
                base_type_oid,
                type_name: String::new(),
                not_null: attnum == 1,
                toastable: name == "nota",
                generated: Generated::No,
            })
            .collect();
    let pick = |name: &&str| columns.iter().find(|column| column.name == **name).cloned();
    Table {
        oid: 0x4017,
        schema: "public".to_owned(),
        name: "solicitudes".to_owned(),
        kind: Kind::Ordinary,
        columns: mapped.iter().filter_map(pick).collect(),
        key: columns.iter().take(1).cloned().collect(),
        identity: ReplicaIdentity::Default,
        all_columns: columns.clone(),
        leaves: Vec::new(),
        hides_rows: false,
        rows_estimate: None,
    }
}

fn assembly() -> Assembly {
    Assembly::new(vec![Target::new(0, &table(&["apertura", "fase", "nota"]), true)], Lsn(0), None)
}

fn brief(change: &Change) -> String {
    let row = |row: &Option<change::Row>| {
        row.as_ref().map_or_else(
            || "-".to_owned(),
            |row| {
                let cell = |value: &change::Value| match value {
                    change::Value::Text(text) if text.len() > 99 => format!("{} letters", text.len()),
                    change::Value::Text(text) => text.to_string(),
                    other => format!("{other:?}"),
                };
                row.cells().iter().map(cell).collect::<Vec<_>>().join(",")
            },
        )
    };
    let key = |key: &Option<RowKey>| key.as_ref().map_or("-", RowKey::as_str).to_owned();
    let Change { operation, before, after, key: current, old_key, .. } = change;
    format!("{operation:?} {} > {} | {} was {}", row(before), row(after), key(current), key(old_key))
}

#[test]
fn captured_messages_become_changes_with_their_commits() {
    let mut assembly = assembly();
    for message in captured() {
        assembly.read(&message).unwrap();
    }
    let batch = assembly.take_committed(true).unwrap();
    assert_eq!(
        batch.changes.iter().map(brief).collect::<Vec<_>>(),
        [
            "Insert - > Local(1714557600250000),RECIBIDA,3000 letters | 1 was -",
            "Update - > Local(1714557600250000),APROBADA,Unchanged | 1 was -",
            "Update - > Local(1714557600250000),APROBADA,Null | 2 was 1",
            "Update Local(1714557600250000),APROBADA,Null > Local(1714557600250000),RECIBIDA,Null | 2 was -",
            "Delete Local(1714557600250000),RECIBIDA,Null > - | 2 was -",
        ]
    );
    assert_eq!(batch.position.unwrap().as_str(), "0/4D459D00");
    assert_eq!(batch.changes[0].transaction.position.as_str(), "0/4D458D20");
    // 2026-11-22 03:10:13.865808 UTC.
    assert_eq!(batch.changes[0].transaction.committed_at, 1_795_317_013_865_808);
    assert_eq!(
        batch.incidents,
        [Incident::Truncated {
            table: 0,
            position: change::Position::new("0/4D459B90"),
            after: batch.changes.len()
        }]
    );
    assert!(assembly.take_committed(true).is_none());
}

#[test]
fn an_open_transaction_has_no_position_and_holds_back_that_of_keepalives() {
    let mut assembly = assembly();
    let first = assembly.take_committed(true).unwrap();
    assert!(first.changes.is_empty(), "the first batch only tells where the stream stands");
    for message in &captured()[..6] {
        assembly.read(message).unwrap();
    }
    assembly.keepalive(Lsn(u64::MAX));
    assert!(assembly.take_committed(true).is_none());
    let piece = assembly.take_full().unwrap();
    assert_eq!((piece.changes.len(), piece.position), (3, None));
    assembly.read(&captured()[6]).unwrap();
    assert_eq!(assembly.take_committed(true).unwrap().position.unwrap().as_str(), "0/4D458D50");
    assembly.keepalive(Lsn(0x4D45_9000));
    assembly.keepalive(Lsn(0x4D45_8000));
    let moved = assembly.take_committed(true).unwrap();
    assert!(moved.changes.is_empty());
    assert_eq!(moved.position.unwrap().as_str(), "0/4D459000");
}

#[test]
fn a_commit_is_taken_without_the_transaction_that_follows() {
    let mut assembly = assembly();
    for message in &captured()[..11] {
        assembly.read(message).unwrap();
    }
    let committed = assembly.take_full().unwrap();
    assert_eq!((committed.changes.len(), committed.position.unwrap().as_str()), (3, "0/4D458D50"));
    let open = assembly.take_full().unwrap();
    assert_eq!((open.changes.len(), open.position), (1, None));
}

#[test]
fn an_open_transaction_can_be_read_again_until_a_piece_of_it_is_handed_out() {
    let mut assembly = assembly();
    for message in &captured()[..11] {
        assembly.read(message).unwrap();
    }
    assert!(assembly.forget_open());
    for message in &captured()[7..11] {
        assembly.read(message).unwrap();
    }
    assert_eq!(assembly.take_full().unwrap().changes.len(), 3);
    assert_eq!(assembly.take_full().unwrap().changes.len(), 1);
    assert!(!assembly.forget_open());
    for message in &captured()[11..] {
        assembly.read(message).unwrap();
    }
    assert!(assembly.forget_open());
    assert_eq!(assembly.take_committed(true).unwrap().changes.len(), 1);
}

#[test]
fn what_the_protocol_does_not_allow_is_a_protocol_error() {
    let all = captured();
    for (name, messages) in [
        ("a change outside a transaction", vec![&all[2], &all[3]]),
        ("a commit outside a transaction", vec![&all[6]]),
        ("a transaction within another", vec![&all[0], &all[7]]),
        ("a row of a relation never described", vec![&all[0], &all[3]]),
        ("an unknown message", vec![&vec![b'?', 0, 0]]),
        ("a streamed transaction", vec![&vec![b'S', 0, 0, 0, 1, 1]]),
        ("nothing", vec![&Vec::new()]),
    ] {
        let mut assembly = assembly();
        let error = messages.iter().try_for_each(|message| assembly.read(message)).unwrap_err();
        assert_eq!(error.kind(), change::SourceErrorKind::Protocol, "{name}");
    }
}

#[test]
fn a_relation_without_a_mapped_column_is_a_schema_error_that_names_it() {
    let mut table = table(&["apertura"]);
    table.columns[0].name = "desaparecida".to_owned();
    let mut assembly = Assembly::new(vec![Target::new(0, &table, false)], Lsn(0), None);
    let error = assembly.read(&captured()[2]).unwrap_err();
    assert_eq!(error.kind(), change::SourceErrorKind::Schema);
    assert!(error.to_string().contains("\"desaparecida\""), "{error}");
}

#[test]
fn every_captured_message_cut_short_is_an_error() {
    for (index, message) in captured().iter().enumerate() {
        // What these say does not matter to us, and is not looked at.
        if matches!(message[0], b'Y' | b'M') {
            continue;
        }
        let cuts = (0..message.len()).filter(|cut| message.len() < 200 || cut % 97 == 0);
        for cut in cuts {
            let mut assembly = assembly();
            for earlier in &captured()[..index] {
                assembly.read(earlier).unwrap();
            }
            assert!(assembly.read(&message[..cut]).is_err(), "message {index} cut to {cut} bytes");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5)) {
        let mut assembly = assembly();
        assembly.read(&captured()[0]).unwrap();
        for message in messages {
            let _read = assembly.read(&message);
        }
    }

    #[test]
    fn mutated_messages_never_panic(
        changes in prop::collection::vec((0_usize..16, any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut messages = captured();
        for (message, at, byte) in changes {
            let at = at.index(messages[message].len());
            messages[message][at] = byte;
        }
        let mut assembly = assembly();
        for message in messages {
            if assembly.read(&message).is_err() {
                break;
            }
        }
        let _batch = assembly.take_full();
    }
}
