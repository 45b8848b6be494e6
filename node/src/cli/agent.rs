//! The command `agent`: what it is told, from wherever it is told.
//!
//! What decides the log level, first to last: `--log-level`, `-Dflume.root.logger=LEVEL,…`, `MILLRACE_LOG`, `info`.
//! `--lenient` is also `MILLRACE_LENIENT=1` and `lenient = true` in `flume.opts`. Variables count as `flume-env.sh`
//! leaves them.
//!
//! Flume's options that are not built yet are named: those without which the agent would not find its configuration
//! (`-z`, `-prov`, `-u` with anything but a file) end the start with 78, the others are warnings.

use super::CliExit;
use super::arguments::{AgentArgs, FormatArg, UnbuiltArgs, log_level};
use super::reading::{self, World};
use crate::component::keys::Severity;
use crate::config::{self, Sources, options_file};
use crate::telemetry::log;
use clap::{CommandFactory, ValueEnum};
use std::ffi::OsString;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// What a poll interval of 0 means.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The options of `agent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentOptions {
    /// Which agent of the files to run (`-n`).
    pub name: String,
    /// Where its configuration comes from (`-f`, `-u`, `-c`, `-D`, the environment).
    pub sources: Sources,
    /// What `-Xmx` says, in bytes: Flume sizes byte capacities of channels by it.
    pub max_heap_bytes: Option<u64>,
    /// Whether to look for changes of the files (off by `--no-reload-conf`).
    pub reload: bool,
    /// How often to look for them (`-i`).
    pub poll_interval: Duration,
    /// Whether to run what is valid and drop the rest, as Flume does.
    pub lenient: bool,
    /// Whether only to say what would be run: [`dry_run`].
    pub dry_run: bool,
    /// Where operators may look in (`--admin`).
    pub admin: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: log::Format,
    /// The filter of log lines, known to be understood by [`log::filter`].
    pub log_level: String,
    /// Seed of every random decision, for replays.
    pub seed: Option<u64>,
    /// To be told on standard error before anything starts.
    pub warnings: Vec<String>,
}

impl AgentOptions {
    /// A system property; the last `-D` of a key counts.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.sources.system_properties.get(key).map(String::as_str)
    }
}

/// Reads the words after `agent`.
pub(super) fn read(words: impl Iterator<Item = OsString>, world: &World) -> Result<AgentOptions, CliExit> {
    let words = reading::words::<AgentArgs>(words, Some(world))?;
    let args = words.args;
    let (refusals, unbuilt) = unbuilt(&args.unbuilt);
    let mut missing = Vec::new();
    let name = args.inputs.name.clone().unwrap_or_default();
    if name.is_empty() {
        missing.push("Error: Missing required option: n (--name NAME, the agent to run)");
    }
    if args.inputs.conf_files.is_empty() && args.inputs.conf_uris.is_empty() && refusals.is_empty() {
        missing.push("Error: No configuration was provided (--conf-file FILE)");
    }
    if !missing.is_empty() {
        return Err(reading::wrong(&AgentArgs::command(), &missing.join("\n")));
    }
    if !refusals.is_empty() {
        return Err(reading::refused(&refusals.join("\n")));
    }
    let inputs = reading::inputs(args.inputs, world)?;
    inputs.sources.paths().map_err(|e| reading::unreadable(&e))?;
    let mut warnings = words.warnings;
    let ignored = words.others.iter();
    warnings.extend(ignored.map(|word| format!("Warning: ignored: \"{}\"", word.to_string_lossy())));
    warnings.extend(inputs.warnings);
    warnings.extend(unbuilt);
    let variable = |name: &str| inputs.sources.environment.get(name).map(String::as_str);
    let mut options = AgentOptions {
        name,
        max_heap_bytes: inputs.max_heap_bytes,
        reload: !args.no_reload_conf,
        poll_interval: match args.poll_interval {
            None | Some(0) => POLL_INTERVAL,
            Some(seconds) => Duration::from_secs(seconds),
        },
        lenient: args.lenient || variable("MILLRACE_LENIENT").is_some_and(options_file::is_set),
        dry_run: args.dryrun,
        admin: args.admin,
        log_format: log::Format::Human,
        log_level: "info".to_owned(),
        seed: args.seed,
        warnings,
        sources: Sources {
            run_commands: true,
            ..inputs.sources
        },
    };
    options.take_logging(args.log_format, args.log_level)?;
    Ok(options)
}

impl AgentOptions {
    fn take_logging(&mut self, format: Option<FormatArg>, level: Option<String>) -> Result<(), CliExit> {
        let variable = |name: &str| self.sources.environment.get(name).filter(|v| !v.is_empty());
        let refused =
            |name: &str, why: &str| reading::wrong(&AgentArgs::command(), &format!("Error: {name}: {why}"));
        let format = match (format, variable("MILLRACE_LOG_FORMAT")) {
            (Some(format), _) => format,
            (None, None) => FormatArg::Human,
            (None, Some(text)) => FormatArg::from_str(text, true).map_err(|_| {
                refused(
                    "MILLRACE_LOG_FORMAT",
                    &format!("expected human or json, found \"{text}\""),
                )
            })?,
        };
        let from_variable = match variable("MILLRACE_LOG") {
            Some(text) => Some(log_level(text).map_err(|why| refused("MILLRACE_LOG", &why))?),
            None => None,
        };
        self.log_format = format.into();
        if let Some(level) = level {
            self.log_level = level;
            return Ok(());
        }
        self.log_level = from_variable.unwrap_or_else(|| "info".to_owned());
        let root = self.property("flume.root.logger").map(str::to_owned);
        match root
            .as_deref()
            .map(|value| (value, log::root_logger_level(value)))
        {
            None => {}
            Some((_, Some(level))) => self.log_level = level.to_owned(),
            Some((value, None)) => self.warnings.push(format!(
                "Warning: -Dflume.root.logger={value} names no level; {} is used",
                self.log_level
            )),
        }
        Ok(())
    }
}

/// What ends the start, and what is only told.
fn unbuilt(args: &UnbuiltArgs) -> (Vec<String>, Vec<String>) {
    let refusals = [
        (
            args.zk_connect.is_some(),
            "-z, --zkConnString: configuration from ZooKeeper is not in this version",
        ),
        (
            args.conf_provider.is_some(),
            "-prov, --conf-provider: Java classes are not in this version",
        ),
    ];
    let warnings = [
        (args.zk_base_path.is_some(), "-p, --zkBasePath"),
        (args.backup_directory.is_some(), "-b, --backup-directory"),
        (args.conf_user.is_some(), "-user, --conf-user"),
        (args.conf_password.is_some(), "-pwd, --conf-password"),
        (args.auth_provider.is_some(), "-a, --auth-provider"),
        (args.classpath.is_some(), "-C, --classpath"),
        (args.plugins_path.is_some(), "--plugins-path"),
    ];
    let refused = refusals.iter().filter(|(given, _)| *given);
    let warned = warnings.iter().filter(|(given, _)| *given);
    (
        refused.map(|(_, text)| format!("Error: {text}")).collect(),
        warned
            .map(|(_, option)| format!("Warning: {option} is not in this version and has no effect"))
            .collect(),
    )
}

/// What `--dryrun` prints: what would be run, and what is found in the configuration. Nothing is started, but
/// commands of config filters are asked, as at a start.
pub fn dry_run(options: &AgentOptions) -> String {
    let mut text = format!("agent {}\n", options.name);
    let mut line = |title: &str, value: String| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "  {title:<15} {value}");
    };
    let loaded = config::load(&options.sources);
    for path in options.sources.paths().unwrap_or_default() {
        line("file", path.display().to_string());
    }
    if let Some(dir) = &options.sources.conf_dir {
        line("directory", dir.display().to_string());
    }
    for (key, value) in &options.sources.system_properties {
        let lower = key.to_lowercase();
        let secret = ["password", "secret", "token"]
            .iter()
            .any(|word| lower.contains(word));
        line(
            "system property",
            format!("{key}={}", if secret { "***" } else { value }),
        );
    }
    if let Some(bytes) = options.max_heap_bytes {
        line("max heap", format!("{bytes} bytes"));
    }
    let seconds = options.poll_interval.as_secs();
    line(
        "reload",
        if options.reload {
            format!("every {seconds} s")
        } else {
            "off".to_owned()
        },
    );
    line("lenient", if options.lenient { "yes" } else { "no" }.to_owned());
    if let Some(address) = options.admin {
        line("admin", address.to_string());
    }
    line("log level", options.log_level.clone());
    match loaded {
        Ok(loaded) => {
            let count = |severity| loaded.findings.iter().filter(|f| f.severity == severity).count();
            line("properties", loaded.properties.len().to_string());
            line(
                "findings",
                format!(
                    "{} errors, {} warnings, {} notes in the files; `node check` looks at components, too",
                    count(Severity::Error),
                    count(Severity::Warning),
                    count(Severity::Note)
                ),
            );
            for finding in &loaded.findings {
                let _ = writeln!(text, "{finding}");
            }
        }
        Err(error) => line("error", error.to_string()),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE, parse_in};
    use std::path::PathBuf;

    fn parsed_in(line: &str, world: &World) -> Result<Command, CliExit> {
        parse_in(line.split_whitespace().map(OsString::from), world)
    }

    fn parsed(line: &str) -> Result<Command, CliExit> {
        parsed_in(line, &World::default())
    }

    fn agent_in(line: &str, world: &World) -> AgentOptions {
        match parsed_in(&format!("node agent {line}"), world) {
            Ok(Command::Agent(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// A folder with files, and a world with an environment and that folder for `flume.opts`.
    struct Folder(PathBuf);

    impl Folder {
        fn with(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("millrace-cli-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            for (file, text) in files {
                std::fs::write(path.join(file), text).unwrap();
            }
            Self(path)
        }

        fn world(&self) -> World {
            World {
                options_folder: Some(self.0.clone()),
                ..World::default()
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn options(rest: &str) -> AgentOptions {
        match parsed(&format!("node agent -n a1 -f b {rest}")) {
            Ok(Command::Agent(options)) => options,
            other => panic!("{rest}: {other:?}"),
        }
    }

    /// The first line of what is wrong with `agent …`.
    fn mistake(line: &str) -> String {
        let exit = parsed(&format!("node agent {line}")).unwrap_err();
        assert_eq!((exit.code, exit.stdout.as_str()), (EXIT_USAGE, ""), "{exit:?}");
        exit.stderr.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_options_of_an_agent_are_read() {
        let all = options(
            "-f o -c conf -Da=b -D c=d=e -Dempty --no-reload-conf --admin :9090 --log-format json --seed 7",
        );
        assert_eq!(all.name, "a1");
        assert_eq!(all.sources.files, [PathBuf::from("b"), PathBuf::from("o")]);
        assert_eq!(all.sources.conf_dir, Some(PathBuf::from("conf")));
        let pairs: Vec<(&str, &str)> = all
            .sources
            .system_properties
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, [("a", "b"), ("c", "d=e"), ("empty", "")]);
        assert_eq!(all.sources.agent.as_deref(), Some("a1"));
        assert!(all.sources.run_commands && !all.lenient && !all.dry_run);
        assert!(!all.reload);
        assert_eq!(all.admin, Some(([127, 0, 0, 1], 9090).into()));
        assert_eq!(all.log_format, log::Format::Json);
        assert_eq!(all.seed, Some(7));
        assert_eq!(all.warnings, [""; 0]);
    }

    #[test]
    fn options_are_spelled_as_in_acceptance_case_8() {
        let Ok(Command::Agent(short)) = parsed("node agent --name=a1 -conf-file B --no-rel --conf dir")
        else {
            panic!("an abbreviation was not understood");
        };
        assert_eq!((short.name.as_str(), short.reload), ("a1", false));
        assert_eq!(short.sources.conf_dir, Some(PathBuf::from("dir")));
        assert!(mistake("-n a1 -f b --con x").contains("--con"));
    }

    #[test]
    fn what_is_missing_is_named_as_in_acceptance_cases_3_and_5() {
        let exit = parsed("node agent").unwrap_err();
        assert_eq!(exit.code, EXIT_USAGE);
        assert_eq!(
            exit.stderr,
            "Error: Missing required option: n (--name NAME, the agent to run)\n\
             Error: No configuration was provided (--conf-file FILE)\n\
             `node agent --help` lists the options.\n"
        );
        assert_eq!(mistake("--conf"), "Error: Option --conf requires an argument");
        assert_eq!(
            mistake("-n a1 -f"),
            "Error: Option --conf-file requires an argument"
        );
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        assert_eq!(mistake("-n a1 -f b --bogus"), "Error: unknown option '--bogus'");
        assert_eq!(
            mistake("-n a1 -f b --admin here"),
            "Error: invalid value 'here' for '--admin <ADDR>': expected an address such as 127.0.0.1:9090 or [::1]:9090, or a port"
        );
        assert_eq!(
            mistake("-n a1 -f b -Xmx5x"),
            "Error: invalid value 'mx5x' for '-X <OPTION>': expected a size such as -Xmx512m or -Xmx2g"
        );
        assert!(mistake("-n a1 -f b -i abc").starts_with("Error: invalid value 'abc' for '--poll-interval"));
        assert!(mistake("-n a1 -f b --log-level inf").contains("expected off, error, warn"));
        assert!(mistake("-n a1 -f b -D =x").contains("expected KEY=VALUE"));
    }

    #[test]
    fn help_lists_all_options_as_in_acceptance_case_4() {
        for line in ["node agent -h", "node agent -n a1 --help"] {
            let exit = parsed(line).unwrap_err();
            assert_eq!((exit.code, exit.stderr.as_str()), (EXIT_OK, ""));
            for option in [
                "-a, ",
                "-b, ",
                "-f, ",
                "-h, ",
                "-i, ",
                "-n, ",
                "--no-reload-conf",
                "-p, ",
                "-prov",
                "-pwd",
                "-u, ",
                "-user",
                "-z, ",
                "-c, ",
                "-C, ",
                "-d, ",
                "-D ",
                "-X ",
                "--plugins-path",
                "--admin",
                "--lenient",
                "Example:",
            ] {
                assert!(exit.stdout.contains(option), "{}", exit.stdout);
            }
            assert!(!exit.stdout.contains("--seed"), "{}", exit.stdout);
        }
    }

    #[test]
    fn the_heap_is_what_the_last_xmx_says() {
        let heap = |rest| options(rest).max_heap_bytes;
        assert_eq!(heap("-Xmx512m"), Some(512 << 20));
        assert_eq!(heap("-Xmx20m -Xms1g -XX:+UseG1GC -Xmx2G"), Some(2 << 30));
        assert_eq!(heap("-Xmx64k"), Some(64 << 10));
        assert_eq!(heap("-Xmx1048576"), Some(1 << 20));
        assert_eq!(heap("-Xms1g -Xss1m"), None);
        for bad in [
            "-Xmx",
            "-Xmx-1",
            "-Xmx+1",
            "-Xmxm",
            "-Xmx0",
            "-Xmx99999999999999g",
        ] {
            assert!(mistake(&format!("-n a1 -f b {bad}")).starts_with("Error: "));
        }
    }

    #[test]
    fn admin_takes_a_port_or_an_address() {
        let admin = |text: &str| options(&format!("--admin {text}")).admin.map(|a| a.to_string());
        assert_eq!(admin("9090").as_deref(), Some("127.0.0.1:9090"));
        assert_eq!(admin("0.0.0.0:1").as_deref(), Some("0.0.0.0:1"));
        assert_eq!(admin("[::1]:9").as_deref(), Some("[::1]:9"));
    }

    #[test]
    fn the_level_comes_from_the_nearest_place() {
        assert_eq!(options("--log-level debug").log_level, "debug");
        let root = "-Dflume.root.logger=DEBUG,console";
        assert_eq!(options(root).log_level, "debug");
        assert_eq!(
            options(&format!("{root} --log-level node=trace")).log_level,
            "node=trace"
        );
        let odd = options("-Dflume.root.logger=console");
        assert_eq!(odd.warnings.len(), 1, "{odd:?}");
    }

    #[test]
    fn what_is_not_built_yet_is_named() {
        let told = options("-p /flume -b dir -user bob -pwd x -a C -C cp --plugins-path p -agentlib:x extra")
            .warnings;
        assert_eq!(
            told,
            [
                "Warning: -agentlib:x has no effect: there is no Java here",
                "Warning: ignored: \"extra\"",
                "Warning: -p, --zkBasePath is not in this version and has no effect",
                "Warning: -b, --backup-directory is not in this version and has no effect",
                "Warning: -user, --conf-user is not in this version and has no effect",
                "Warning: -pwd, --conf-password is not in this version and has no effect",
                "Warning: -a, --auth-provider is not in this version and has no effect",
                "Warning: -C, --classpath is not in this version and has no effect",
                "Warning: --plugins-path is not in this version and has no effect",
            ]
        );
        for (line, text) in [
            (
                "-z h:1",
                "-z, --zkConnString: configuration from ZooKeeper is not in this version",
            ),
            (
                "-f b -prov C",
                "-prov, --conf-provider: Java classes are not in this version",
            ),
            (
                "-u http://h/x -f b",
                "http://h/x: configuration over http and https is not in this version",
            ),
        ] {
            let exit = parsed(&format!("node agent -n a1 {line}")).unwrap_err();
            assert_eq!(exit.code, EXIT_CONFIGURATION);
            assert!(exit.stderr.contains(text), "{exit:?}");
        }
    }

    #[test]
    fn the_poll_interval_is_in_seconds_and_0_is_the_default() {
        let seconds = |rest: &str| options(rest).poll_interval.as_secs();
        assert_eq!((seconds(""), seconds("-i 0"), seconds("-i 2")), (30, 30, 2));
    }

    #[test]
    fn files_are_named_by_uri_too() {
        let told = agent_in("-n a1 -u file:///b -f o", &World::default());
        assert_eq!(
            told.sources.paths().unwrap(),
            [PathBuf::from("/b"), PathBuf::from("o")]
        );
    }

    #[test]
    fn the_options_file_is_enough_as_in_acceptance_case_10() {
        let folder = Folder::with(
            "opts",
            &[(
                "flume.opts",
                "conf-file = B\nf: C\nname=a1\nno-reload-conf = no\nlenient = yes\ni = 7\nD = a=b\nD = c=d",
            )],
        );
        let all = agent_in("", &folder.world());
        assert_eq!(all.sources.files, [PathBuf::from("B"), PathBuf::from("C")]);
        assert_eq!((all.name.as_str(), all.reload, all.lenient), ("a1", true, true));
        assert_eq!((all.poll_interval.as_secs(), all.property("c")), (7, Some("d")));
        let wins = agent_in("-n a2 -f D -Da=x", &folder.world());
        assert_eq!(
            (wins.name.as_str(), wins.sources.files),
            ("a2", vec![PathBuf::from("D")])
        );
        assert_eq!(wins.sources.system_properties["a"], "x");
        assert_eq!(wins.sources.system_properties["c"], "d");
        let line = format!("-c {}", folder.0.display());
        assert_eq!(agent_in(&line, &World::default()).name, "a1");
    }

    #[test]
    fn an_unknown_key_of_the_options_file_is_fatal() {
        let folder = Folder::with(
            "bad-opts",
            &[("flume.opts", "name=a1\nconf-fiel=B\nuser = u\nc = d\nbogus=1")],
        );
        let exit = parsed_in("node agent", &folder.world()).unwrap_err();
        let file = folder.0.join("flume.opts").display().to_string();
        assert_eq!(
            exit.stderr,
            format!(
                "Error: {file}:2: unknown option \"conf-fiel\"; did you mean \"conf-file\"?\n\
                 Error: {file}:4: c: works on the command line only\n\
                 Error: {file}:5: unknown option \"bogus\"\n\
                 `node agent --help` lists the options.\n"
            )
        );
    }

    #[test]
    fn the_environment_file_gives_properties_heap_and_variables() {
        let folder = Folder::with(
            "env",
            &[(
                "flume-env.sh",
                "export JAVA_OPTS=\"-Xmx1g -Da=1 -Db=1 -XX:+UseG1GC -Xmxbad\"\nexport MILLRACE_LENIENT=1 TOPIC=t\necho hi",
            )],
        );
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let world = World {
            environment: [
                pair("FLUME_JAVA_OPTS", "-Db=2"),
                pair("TOPIC", "old"),
                pair("MILLRACE_LOG", "debug"),
            ]
            .into(),
            options_folder: None,
        };
        let all = agent_in(&format!("-n a1 -f b -c {} -Dc=3", folder.0.display()), &world);
        let properties: Vec<&str> = all
            .sources
            .system_properties
            .values()
            .map(String::as_str)
            .collect();
        assert_eq!(properties, ["1", "2", "3"]);
        assert_eq!((all.max_heap_bytes, all.lenient), (Some(1 << 30), true));
        assert_eq!(all.sources.environment["TOPIC"], "t");
        assert_eq!(all.log_level, "debug");
        assert_eq!(all.warnings.len(), 2, "{:?}", all.warnings);
        assert!(all.warnings[0].contains("flume-env.sh:3: warning[env-file]"));
    }

    #[test]
    fn variables_that_cannot_be_understood_are_refused() {
        for (name, value) in [("MILLRACE_LOG", "inf"), ("MILLRACE_LOG_FORMAT", "xml")] {
            let world = World {
                environment: [(name.to_owned(), value.to_owned())].into(),
                options_folder: None,
            };
            let exit = parsed_in("node agent -n a1 -f b", &world).unwrap_err();
            assert!(exit.stderr.starts_with(&format!("Error: {name}: ")), "{exit:?}");
        }
    }

    #[test]
    fn a_dry_run_says_what_would_be_run() {
        let folder = Folder::with("dry", &[("b", "a1.sinks.k1.x = ${nosuch}"), ("x.yaml", "")]);
        let file = |name: &str| folder.0.join(name).display().to_string();
        let line = format!(
            "-d -n a1 -f {} -f {} -Da=b -Dx.passWord=s3c",
            file("b"),
            file("x.yaml")
        );
        let all = agent_in(&line, &World::default());
        assert!(all.dry_run);
        let text = dry_run(&all);
        assert!(
            text.starts_with("agent a1\n") && text.contains(&file("b")),
            "{text}"
        );
        assert!(text.contains("1 errors, 1 warnings, 0 notes"), "{text}");
        assert!(
            text.contains("x.passWord=***") && text.contains("a=b") && !text.contains("s3c"),
            "{text}"
        );
        let missing = dry_run(&agent_in("-d -n a1 -f missing", &World::default()));
        assert!(missing.contains("Unable to read file missing"), "{missing}");
    }
}
