//! Java, to be asked what it does. Without `java` (a JDK: it compiles the one file it is given) a test is skipped
//! loudly, and fails with `MILLRACE_PEERS=required`.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What `tests/<program>` answers to this input; none if there is no JDK.
pub fn ask(program: &str, options: &[&str], input: &str) -> Option<String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(program);
    let run = |input: &str| -> std::io::Result<Output> {
        let mut child = Command::new("java")
            .args(options)
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = input.to_owned();
        // Beside reading, so that neither side waits for the other.
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        // A java without a compiler ends before it reads.
        let _ = writer.join();
        Ok(output)
    };
    match run(input) {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8(output.stdout).expect("the programs write ASCII"))
        }
        Ok(output) => missing(&String::from_utf8_lossy(&output.stderr)),
        Err(error) => missing(&error.to_string()),
    }
}

fn missing<T>(reason: &str) -> Option<T> {
    let required = std::env::var("MILLRACE_PEERS").is_ok_and(|value| value == "required");
    assert!(!required, "java is missing and MILLRACE_PEERS=required: {reason}");
    // Not `eprintln!`: the test harness keeps that back as long as a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: java is missing: {reason}");
    None
}

/// A text as the programs read it: % and four hexadecimal digits for a UTF-16 unit.
pub fn written(text: &str) -> String {
    let unit = |unit: u16| match u8::try_from(unit).map(char::from) {
        Ok(c @ ' '..='~') if c != '%' => c.to_string(),
        _ => format!("%{unit:04X}"),
    };
    text.encode_utf16().map(unit).collect()
}

/// A text that a program has written.
pub fn text_of(written: &str) -> String {
    let mut units = Vec::new();
    let mut rest = written;
    while let Some(c) = rest.chars().next() {
        let len = if c == '%' { 5 } else { c.len_utf8() };
        match c {
            '%' => units.push(u16::from_str_radix(&rest[1..5], 16).expect("four digits follow a %")),
            c => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
        }
        rest = &rest[len..];
    }
    String::from_utf16_lossy(&units)
}
