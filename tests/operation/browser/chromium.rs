//! A browser without a window, told what to do over a pipe
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long one answer of the browser may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A narrow phone, in CSS pixels.
const PHONE: (u32, u32) = (360, 740);

/// One tab.
pub(super) struct Chromium {
    _process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Value,
    last_id: u64,
    complaints: Vec<String>,
    /// Goes away with it.
    _profile: TempDir,
}

impl Chromium {
    /// Starts the browser of this machine.
    pub(super) async fn start() -> Self {
        let program = program();
        let profile = tempfile::tempdir().unwrap();
        // The browser reads orders from its third descriptor and answers on its fourth.
        let script = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --hide-scrollbars --remote-debugging-pipe --user-data-dir=\"$1\" about:blank 3<&0 4>&1 >/dev/null 2>&1";
        let mut process = Command::new("sh")
            .args(["-c", script, &program])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (orders, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut browser = Self {
            _process: process,
            orders,
            answers: BufReader::new(answers),
            session: Value::Null,
            last_id: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let tab = browser.order("Target.createTarget", json!({"url": "about:blank"})).await;
        let asked = json!({"targetId": tab["targetId"], "flatten": true});
        browser.session = browser.order("Target.attachToTarget", asked).await["sessionId"].clone();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.order(domain, json!({})).await;
        }
        browser
    }

    /// Makes the tab as narrow as a phone.
    pub(super) async fn become_a_phone(&mut self) {
        let (width, height) = PHONE;
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": true});
        self.order("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// Opens an address and waits until it is shown.
    pub(super) async fn open(&mut self, address: &str) {
        self.order("Page.navigate", json!({"url": address})).await;
        let there = format!("document.readyState === 'complete' && location.href === {}", json!(address));
        self.until("the page is shown", &there, PATIENCE).await;
    }

    /// What a script says in the page.
    pub(super) async fn value(&mut self, script: &str) -> Value {
        let asked = json!({"expression": script, "returnByValue": true});
        let answer = self.order("Runtime.evaluate", asked).await;
        assert!(answer.get("exceptionDetails").is_none(), "{script}: {answer:#}");
        answer["result"]["value"].clone()
    }

    /// Waits until a script says true. While a page gives way to the next, there is nobody to ask.
    pub(super) async fn until(&mut self, what: &str, script: &str, deadline: Duration) {
        let began = Instant::now();
        let asked = json!({"expression": format!("Boolean({script})"), "returnByValue": true});
        while self.order("Runtime.evaluate", asked.clone()).await["result"]["value"] != true {
            assert!(began.elapsed() < deadline, "not within {} s: {what}", deadline.as_secs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses the key Enter where the focus is.
    pub(super) async fn press_enter(&mut self) {
        let mut press = json!({"type": "keyDown", "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13});
        self.order("Input.dispatchKeyEvent", press.clone()).await;
        press["type"] = json!("keyUp");
        self.order("Input.dispatchKeyEvent", press).await;
    }

    /// What the browser wrote into its console, such as content that the page's own policy forbids.
    pub(super) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Takes a picture of the whole page.
    pub(super) async fn picture(&mut self, path: &Path) {
        let height = self.value("document.documentElement.scrollHeight").await;
        let whole = json!({"x": 0, "y": 0, "width": PHONE.0, "height": height, "scale": 1});
        let asked = json!({"captureBeyondViewport": true, "clip": whole});
        let taken = self.order("Page.captureScreenshot", asked).await;
        // The picture comes in base64, which the shell's own tool reads.
        let mut decoder = Command::new("sh")
            .args(["-c", "base64 -d >\"$0\""])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = taken["data"].as_str().unwrap().as_bytes();
        decoder.stdin.take().unwrap().write_all(text).await.unwrap();
        assert!(decoder.wait().await.unwrap().success());
    }

    async fn order(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut order = json!({"id": self.last_id, "method": method, "params": parameters});
        if !self.session.is_null() {
            order["sessionId"] = self.session.clone();
        }
        let mut bytes = order.to_string().into_bytes();
        bytes.push(0);
        self.orders.write_all(&bytes).await.expect("the browser takes orders");
        loop {
            let told = self.told(method).await;
            if told["id"] == self.last_id {
                return told.get("result").cloned().unwrap_or_else(|| json!({}));
            }
            self.hear(&told);
        }
    }

    async fn told(&mut self, method: &str) -> Value {
        let mut bytes = Vec::new();
        let reading = tokio::time::timeout(PATIENCE, self.answers.read_until(0, &mut bytes)).await;
        let read = reading.unwrap_or_else(|_| panic!("the browser does not answer {method}")).unwrap();
        assert!(read > 0, "the browser ended instead of answering {method}");
        bytes.pop();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn hear(&mut self, told: &Value) {
        let complaint = match told["method"].as_str() {
            Some("Log.entryAdded") => &told["params"]["entry"],
            Some("Runtime.exceptionThrown") => &told["params"]["exceptionDetails"],
            _ => return,
        };
        self.complaints.push(complaint.to_string());
    }
}

/// The browser's name, or the end of the test with the way to get one.
fn program() -> String {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file());
    let Some(program) = found else {
        panic!("there is no Chromium: install it, on Debian with `apt-get install chromium`");
    };
    program.to_string_lossy().into_owned()
}
