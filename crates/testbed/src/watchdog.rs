//! What stops a server and removes its folder when the process that owned it was killed.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::TestbedError;
use crate::account::Account;

/// Waits for the end of its input: the only sign of a kill -9 that needs no help from the one who was killed.
///
/// A stale pid file may name a process that is not ours, so the process's own working folder must agree.
const SCRIPT: &str = r#"
dir=$1; data=$2; pidfile=$3
while read -r _; do :; done
if read -r pid < "$pidfile"; then
    ours() { [ ! -d /proc/self ] || [ "$(readlink "/proc/$pid/cwd")" = "$data" ]; }
    if ours && kill -s QUIT "$pid"; then
        tries=0
        while [ "$tries" -lt 200 ] && ours && kill -s 0 "$pid"; do sleep 0.05; tries=$((tries + 1)); done
        if ours; then kill -s KILL "$pid"; fi
    fi
fi
rm -rf "$dir"
"#;

/// A process that outlives us by the moment it takes to stop one server and to remove its folder.
#[derive(Debug)]
pub(crate) struct Watchdog {
    process: Child,
    /// Closed by the system when we die, however we die.
    leash: Option<ChildStdin>,
}

impl Watchdog {
    /// Watches over the server that runs in `data` and writes its process id into `pid_file`; `dir` is removed
    /// in the end.
    ///
    /// # Errors
    /// [`TestbedError::Program`] when there is no shell.
    pub(crate) fn start(
        dir: &Path,
        data: &Path,
        pid_file: &Path,
        account: Account,
    ) -> Result<Watchdog, TestbedError> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "watchdog"]).args([dir, data, pid_file]).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A Ctrl-C in the terminal must not end the watchdog before its work.
        command.process_group(0);
        account.apply(&mut command);
        let mut process = command
            .spawn()
            .map_err(|error| TestbedError::Program { program: "sh".to_owned(), output: error.to_string() })?;
        let leash = process.stdin.take();
        Ok(Watchdog { process, leash })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.leash = None;
        // Nothing can be done about a watchdog that failed: the folder then stays behind.
        drop(self.process.wait());
    }
}
