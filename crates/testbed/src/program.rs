//! Other programs, run to their end with their output kept for the error message.

use std::process::{Command, Stdio};

use crate::TestbedError;

/// How much of a failed program's output an error message carries, in bytes from the end.
const OUTPUT_TAIL: usize = 4_000;

/// How many of a program's arguments an error message names.
const DESCRIBED: usize = 3;

/// Runs `command` to its end and returns what it wrote to its standard output.
///
/// # Errors
/// [`TestbedError::Program`] when it cannot be run or its exit status is not 0.
pub(crate) fn run(command: &mut Command) -> Result<String, TestbedError> {
    let program = describe(command);
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return Err(TestbedError::Program { program, output: error.to_string() }),
    };
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let output = format!("{}: {} {}", output.status, tail(&stdout, OUTPUT_TAIL), tail(&stderr, OUTPUT_TAIL));
    Err(TestbedError::Program { program, output })
}

/// Sends `signal` (such as `"INT"`) to the process `pid`; says whether there was such a process.
///
/// The shell's own `kill` does it, because the standard library has no safe call for signals.
pub(crate) fn signal(pid: u32, signal: &str) -> bool {
    let script = format!("kill -s {signal} {pid}");
    Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The end of `text`, at most `limit` bytes, beginning at a whole character.
pub(crate) fn tail(text: &str, limit: usize) -> &str {
    let text = text.trim_end();
    let wanted = text.len().saturating_sub(limit);
    let start = (wanted..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// The program and its first words, which say what it was to do; the rest is detail.
fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().take(DESCRIBED).map(|word| word.to_string_lossy().into_owned()));
    if command.get_args().len() > DESCRIBED {
        words.push("…".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_named_with_what_it_wrote() {
        let error = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`sh -c") && text.contains("out") && text.contains("err"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.to_string().contains("`no-such-program-here` failed"), "{error}");
    }

    #[test]
    fn a_tail_begins_at_a_whole_character() {
        assert_eq!(tail("áéí\n", 3), "í");
        assert_eq!(tail("abc", 10), "abc");
    }
}
