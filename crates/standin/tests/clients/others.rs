//! FreeTDS and python-tds, fetched once: no client that was written for this server, or beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use standin::Encryption;

use crate::support::{ENABLE, options, started};

/// One test fetches at a time.
static FETCHING: Mutex<()> = Mutex::new(());

/// The folder `name`, made by `fill` when it is missing; it appears under its name only when it is complete.
fn folder(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let _one = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cache = std::env::var_os("BITACORA_TESTBED_CACHE")
        .map_or_else(|| std::env::temp_dir().join("bitacora-standin-clients"), PathBuf::from);
    let complete = cache.join(name);
    if !complete.is_dir() {
        std::fs::create_dir_all(&cache).unwrap();
        let partial = tempfile::tempdir_in(&cache).unwrap();
        fill(partial.path());
        // Another process may have been faster: its folder serves as well.
        drop(std::fs::rename(partial.keep(), &complete));
    }
    assert!(complete.is_dir(), "{} could not be filled", complete.display());
    complete
}

fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// FreeTDS of the distribution, unpacked and not installed.
fn freetds() -> PathBuf {
    folder("freetds", |dir| {
        let packages = ["freetds-bin", "libct4", "libsybdb5", "tdsodbc", "libodbc2", "libreadline8"];
        // Lists of our own: the machine's may be missing or old, and only root may renew them.
        let own = tempfile::tempdir().unwrap();
        let (lists, kept) = (own.path().join("lists"), own.path().join("cache"));
        for made in [lists.join("partial"), kept.join("archives/partial")] {
            std::fs::create_dir_all(made).unwrap();
        }
        let apt = || {
            let mut command = Command::new("apt-get");
            command.args(["-o", "APT::Sandbox::User=root"]);
            command.arg("-o").arg(format!("Dir::State::Lists={}", lists.display()));
            command.arg("-o").arg(format!("Dir::Cache={}", kept.display()));
            command
        };
        succeed(apt().args(["--quiet", "update"]));
        for package in packages {
            succeed(apt().args(["download", package]).current_dir(dir));
        }
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                succeed(Command::new("dpkg").arg("-x").arg(&path).arg(dir));
            }
        }
    })
}

fn libraries(root: &Path) -> std::ffi::OsString {
    let place = root.join("usr/lib");
    let mut found = vec![place.clone()];
    found.extend(
        std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()),
    );
    std::env::join_paths(found).unwrap()
}

#[test]
fn freetds_reads_the_same_rows_and_errors() {
    let server = started(options());
    server.sql("app", "INSERT INTO solicitud VALUES (1, 'a', 3, N'señal'), (2, 'b', 1, NULL)").unwrap();
    let root = freetds();
    let dir = tempfile::tempdir().unwrap();
    let configuration = dir.path().join("freetds.conf");
    let text = format!(
        "[standin]\nhost = 127.0.0.1\nport = {}\ntds version = 7.4\nclient charset = UTF-8\n",
        server.port()
    );
    std::fs::write(&configuration, text).unwrap();
    let query = dir.path().join("query.sql");
    let sql = "SELECT id, servicio, nota, CAST('2024-02-29T12:00:00.995' AS datetime) AS momento, CAST(12.5 AS decimal(9,2)) AS monto FROM solicitud ORDER BY id\ngo\nSELECT nope FROM solicitud\ngo\n";
    std::fs::write(&query, sql).unwrap();
    let output = Command::new(root.join("usr/bin/tsql"))
        .args(["-S", "standin", "-U", "sa", "-P", "Standin-Passw0rd", "-D", "app", "-o", "fhq"])
        .env("FREETDSCONF", &configuration)
        .env("LD_LIBRARY_PATH", libraries(&root))
        .env("LC_ALL", "C.UTF-8")
        .stdin(std::fs::File::open(&query).unwrap())
        .output()
        .unwrap();
    let (out, messages) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("1\ta\tseñal\tFeb 29 2024 12:00PM\t12.50"), "{out}{messages}");
    assert!(out.contains("2\tb\tNULL"), "{out}");
    assert!(
        format!("{out}{messages}").contains("Msg 207 (severity 16, state 1) from STANDIN Line 1"),
        "{out}{messages}"
    );
    let counted = Command::new(root.join("usr/bin/bsqldb"))
        .args(["-S", "standin", "-U", "sa", "-P", "Standin-Passw0rd", "-D", "app", "-q", "-i"])
        .arg({
            let path = dir.path().join("count.sql");
            std::fs::write(&path, "SELECT COUNT(*) FROM solicitud\ngo\n").unwrap();
            path
        })
        .env("FREETDSCONF", &configuration)
        .env("LD_LIBRARY_PATH", libraries(&root))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&counted.stdout).trim(),
        "2",
        "{}",
        String::from_utf8_lossy(&counted.stderr)
    );
}

/// What python-tds reads, printed in Python's own way.
const SCRIPT: &str = r#"
import sys, pytds
port, ca, login_only = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "login only"
secure = {"cafile": ca, "validate_host": False, "enc_login_only": login_only} if ca else {}
with pytds.connect("127.0.0.1", database="app", user="sa", password="Standin-Passw0rd", port=port, autocommit=True, timeout=20, **secure) as connection:
    cursor = connection.cursor()
    cursor.execute("SELECT id, servicio, nota, CAST(12.5 AS decimal(9,2)), CAST('2024-02-29T12:00:00.995' AS datetime), 0x0102 FROM solicitud WHERE id = %s", (1,))
    print(cursor.fetchall())
    try:
        cursor.execute("SELECT nope FROM solicitud")
    except pytds.Error as error:
        print(error.number)
    cursor.execute("SELECT __$operation, id, estado, nota FROM cdc.fn_cdc_get_all_changes_dbo_solicitud(sys.fn_cdc_get_min_lsn('dbo_solicitud'), sys.fn_cdc_get_max_lsn(), N'all update old') ORDER BY __$start_lsn, __$seqval, __$operation")
    print(cursor.fetchall())
"#;

#[test]
fn python_tds_reads_the_same_rows_and_changes_with_every_kind_of_encryption() {
    for encryption in [Encryption::NotSupported, Encryption::Off, Encryption::On, Encryption::Required] {
        let mut options = options();
        options.encryption = encryption;
        let server = started(options);
        server.sql("app", ENABLE).unwrap();
        server
            .sql("app", "INSERT INTO solicitud VALUES (1, 'a', 3, N'señal'); UPDATE solicitud SET estado = 4")
            .unwrap();
        server.capture_now("app").unwrap();
        let packages = folder("python-tds", |dir| {
            let mut install = Command::new("python3");
            install
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(dir)
                .args(["python-tds", "pyOpenSSL"]);
            succeed(&mut install);
        });
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, server.certificate_pem()).unwrap();
        let trusted =
            if encryption == Encryption::NotSupported { String::new() } else { ca.display().to_string() };
        let what = if encryption == Encryption::Off { "login only" } else { "all" };
        let mut script = Command::new("python3");
        script.args(["-c", SCRIPT, &server.port().to_string(), &trusted, what]).env("PYTHONPATH", packages);
        let out = succeed(script.env("PYTHONIOENCODING", "utf-8"));
        let lines: Vec<&str> = out.lines().collect();
        let moment = "datetime.datetime(2024, 2, 29, 12, 0, 0, 997000)";
        assert_eq!(
            lines[0],
            format!("[(1, 'a', 'señal', Decimal('12.50'), {moment}, b'\\x01\\x02')]")
                .replace("12.50", "12.5")
        );
        assert_eq!(lines[1], "207");
        assert_eq!(lines[2], "[(2, 1, 3, 'señal'), (3, 1, 3, None), (4, 1, 4, None)]");
    }
}
