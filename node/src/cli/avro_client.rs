//! The command `avro-client`, with the options of Flume's.
//!
//! As there, `-P` names the servers instead of `-H` and `-p`, and what the launcher takes (`--conf`, `-D`, …) is taken
//! here as well. Unlike there, words that belong to no option are refused: a file without its `-F` would leave the
//! command waiting for standard input.

use super::CliExit;
use super::arguments::{AvroClientArgs, InputArgs, LauncherArgs};
use super::reading::{self, World};
use crate::avro_client::{Input, Options, Server};
use clap::CommandFactory;
use std::ffi::OsString;
use std::time::Duration;

/// Reads the words after `avro-client`.
pub(super) fn read(words: impl Iterator<Item = OsString>, world: &World) -> Result<Options, CliExit> {
    let words = reading::words::<AvroClientArgs>(words, None)?;
    let args = words.args;
    let mut warnings = words.warnings;
    let mut wrong: Vec<String> = Vec::new();
    for word in &words.others {
        let word = word.to_string_lossy();
        wrong.push(format!("Error: what is \"{word}\"? A file to send: -F {word}"));
    }
    if args.filename.is_some() && args.dirname.is_some() {
        wrong.push("Error: --filename and --dirname options cannot be used simultaneously".to_owned());
    }
    let server = match (args.rpc_props, args.host, args.port) {
        (Some(file), host, port) => {
            if host.is_some() || port.is_some() {
                warnings.push("Warning: --host and --port have no effect beside --rpcProps".to_owned());
            }
            Some(Server::Properties(file))
        }
        (None, Some(host), Some(port)) => Some(Server::At { host, port }),
        (None, None, None) => {
            wrong.push("Error: Either --rpcProps or both --host and --port must be specified".to_owned());
            None
        }
        (None, None, _) => {
            wrong.push("Error: You must specify a hostname to connect to with --host".to_owned());
            None
        }
        (None, _, None) => {
            wrong.push("Error: You must specify a port to connect to with --port".to_owned());
            None
        }
    };
    let Some(server) = server.filter(|_| wrong.is_empty()) else {
        return Err(reading::wrong(&AvroClientArgs::command(), &wrong.join("\n")));
    };
    let without_effect = [
        (args.launcher.classpath.is_some(), "--classpath"),
        (args.launcher.plugins_path.is_some(), "--plugins-path"),
    ];
    let without_effect = without_effect.iter().filter(|(given, _)| *given);
    warnings.extend(
        without_effect.map(|(_, option)| format!("Warning: {option} has no effect: there is no Java here")),
    );
    let LauncherArgs {
        conf,
        properties,
        jvm,
        ..
    } = args.launcher;
    let inputs = InputArgs {
        name: None,
        conf_files: Vec::new(),
        conf_uris: Vec::new(),
        conf,
        properties,
        jvm,
    };
    let inputs = reading::inputs(inputs, world)?;
    warnings.extend(inputs.warnings);
    let input = match (args.filename, args.dirname) {
        (Some(file), _) => Input::File(file),
        (None, Some(folder)) => Input::Folder(folder),
        (None, None) => Input::StandardInput,
    };
    Ok(Options {
        server,
        input,
        header_file: args.header_file,
        batch_size: args.batch_size,
        retry: Duration::from_secs(args.retry),
        tls: inputs.sources.tls_defaults(),
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use crate::avro_client::{Input, Options, Server};
    use crate::cli::{CliExit, Command, EXIT_OK, EXIT_USAGE, World, parse_in};
    use crate::io::tls::TlsDefaults;
    use std::ffi::OsString;
    use std::path::PathBuf;

    fn parsed(line: &str) -> Result<Options, CliExit> {
        let words = format!("node avro-client {line}");
        match parse_in(words.split_whitespace().map(OsString::from), &World::default())? {
            Command::AvroClient(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flumes_spellings_mean_the_same() {
        let expected = Server::At {
            host: "box".to_owned(),
            port: 41414,
        };
        for line in [
            "-H box -p 41414 -F a.log -R h.properties",
            "--host box --port 41414 --filename a.log --headerFile h.properties",
            "--host=box --port=41414 --filename=a.log --headerFile=h.properties",
            "-host box -port 41414 -filename a.log -headerFile h.properties",
            "--conf conf -Hbox -p41414 -Fa.log --head h.properties -Dflume.root.logger=DEBUG,console -Xmx1g",
        ] {
            let options = parsed(line).unwrap();
            assert_eq!(options.server, expected, "{line}");
            assert_eq!(options.input, Input::File(PathBuf::from("a.log")), "{line}");
            assert_eq!(options.header_file, Some(PathBuf::from("h.properties")), "{line}");
            assert_eq!(options.warnings, [""; 0], "{line}");
        }
        assert_eq!(
            parsed("-H box -p 1 --dirname spool").unwrap().input,
            Input::Folder(PathBuf::from("spool"))
        );
        let options = parsed("-P client.properties -H box --batch-size 7").unwrap();
        assert_eq!(
            options.server,
            Server::Properties(PathBuf::from("client.properties"))
        );
        assert_eq!(
            (options.input, options.batch_size),
            (Input::StandardInput, Some(7))
        );
        assert_eq!(
            options.warnings,
            ["Warning: --host and --port have no effect beside --rpcProps"]
        );
    }

    #[test]
    fn tls_defaults_come_from_the_launcher() {
        let tls = |line: &str| parsed(line).unwrap().tls;
        assert_eq!(tls("-H box -p 1"), TlsDefaults::default());
        let options = "-Djavax.net.ssl.trustStore=t.jks -Djavax.net.ssl.trustStorePassword=secret";
        let expected = TlsDefaults {
            truststore: Some("t.jks".to_owned()),
            truststore_password: Some("secret".to_owned()),
            ..TlsDefaults::default()
        };
        assert_eq!(tls(&format!("-P client.properties {options}")), expected);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, text) in [
            (
                "",
                "Either --rpcProps or both --host and --port must be specified",
            ),
            ("-H box", "You must specify a port to connect to with --port"),
            ("-p 1", "You must specify a hostname to connect to with --host"),
            (
                "-H box -p 1 -F a --dirname b",
                "--filename and --dirname options cannot be used simultaneously",
            ),
            ("-H box -p 1 a.log", "what is \"a.log\"? A file to send: -F a.log"),
            ("-H box -p http", "invalid value 'http' for '--port"),
            ("-H box -p 0", "invalid value '0' for '--port"),
            (
                "-H box -p 1 --filenam a --batch-size 0",
                "invalid value '0' for '--batch-size",
            ),
            (
                "-H box -p 1 --headerfile h",
                "unknown option '--headerfile'; did you mean '--headerFile'?",
            ),
        ] {
            let exit = parsed(line).unwrap_err();
            assert_eq!(exit.code, EXIT_USAGE, "{line}");
            assert!(exit.stderr.contains(text), "{line}: {}", exit.stderr);
            assert!(
                exit.stderr
                    .contains("`node avro-client --help` lists the options."),
                "{line}"
            );
        }
    }

    #[test]
    fn help_tells_about_the_folder() {
        let exit = parsed("-h").unwrap_err();
        assert_eq!(exit.code, EXIT_OK);
        assert!(exit.stdout.contains("--dirname <DIR>"), "{}", exit.stdout);
        assert!(exit.stdout.contains("--rpcProps <FILE>"), "{}", exit.stdout);
    }
}
