//! Every code with its meaning: words for programs, which do not change.

/// Code and meaning, by the alphabet.
pub const CODES: &[(&str, &str)] = &[
    ("bad-boolean", "warning: neither true nor false; false is used"),
    ("bad-escape", "error: a malformed \\u; the property is lost"),
    (
        "bad-number",
        "warning: no number, or out of range; the default is used",
    ),
    (
        "bad-value",
        "error: the component cannot run with this value (warning where a default is used)",
    ),
    (
        "batch-over-transaction",
        "error: a batch that no transaction of the channel can hold",
    ),
    (
        "cannot-build",
        "error: the component cannot be built, and it is no single property's fault",
    ),
    (
        "competing-sinks",
        "note: sinks share a channel, each event goes to one of them",
    ),
    (
        "default-header",
        "note: a multiplexing selector without a header of its own",
    ),
    (
        "defined-twice",
        "warning: a later definition replaces another value",
    ),
    ("deprecated", "warning: an old spelling, still understood"),
    (
        "different-channels",
        "note: a group whose sinks read different channels",
    ),
    ("empty", "warning: no key or no value; ignored"),
    ("empty-agent", "error: nothing of the agent is left to run"),
    (
        "folder-pattern",
        "warning: a pattern where only a file name has one",
    ),
    ("foreign-key", "warning: the key of another type"),
    ("inline-comment", "warning: a # that begins no comment"),
    (
        "java-class",
        "error: a Java class of somebody else's, which cannot be loaded",
    ),
    (
        "lost-backslash",
        "warning: a backslash that the format takes away",
    ),
    ("missing", "error: a required property is not there"),
    ("missing-prefix", "warning: a key without its prefix; ignored"),
    ("no-agent", "error: the agent is not in the file"),
    (
        "no-default",
        "note: a multiplexing selector that throws other values away",
    ),
    ("no-effect", "warning: known, but nobody looks at it"),
    (
        "no-mapping",
        "warning: a multiplexing selector that tells nothing apart",
    ),
    (
        "no-priority",
        "warning: a sink of a failover group without priority",
    ),
    ("no-processor", "warning: a group without processor.type"),
    (
        "no-property",
        "warning: a component's name without a property; ignored",
    ),
    (
        "no-timestamp",
        "warning: a time in an hdfs path, and nothing that sets it",
    ),
    (
        "not-configured",
        "error: listed, and nothing is set for it (warning for a part)",
    ),
    (
        "not-in-this-version",
        "error: a type of Flume that this version does not build",
    ),
    (
        "not-listed",
        "warning: configured, but in no list; it does not run",
    ),
    ("not-utf8", "warning: the file is read as ISO-8859-1"),
    (
        "odd-character",
        "warning: a character that is easily pasted and seldom meant",
    ),
    (
        "one-sink",
        "error: a load_balance group of one sink (warning for failover)",
    ),
    ("other-agents", "note: agents of the file that were not looked at"),
    (
        "other-spelling",
        "warning: the guide's spelling, which Flume does not read",
    ),
    (
        "placeholder",
        "warning: a place in a template that was not filled in",
    ),
    ("privileged-port", "note: a port below 1024"),
    ("quotes", "warning: quotes that are part of the value"),
    ("same-folder", "error: two file channels in one folder"),
    ("same-port", "error: two listeners on one port"),
    (
        "same-priority",
        "error: two sinks of a failover group with one priority",
    ),
    ("sink-in-two-groups", "error: a sink that two groups name"),
    ("stray-line", "warning: a line that is no property of an agent"),
    (
        "swallowed-line",
        "warning: a backslash at the end took in the next property",
    ),
    ("tilde", "warning: a ~ that nobody replaces"),
    (
        "trailing-punctuation",
        "warning: a comma or semicolon that is part of the value",
    ),
    ("unconnected", "warning: a channel that nobody reads or writes"),
    ("unknown-agent", "warning: a key whose first word is no agent"),
    ("unknown-key", "warning: nobody knows it; ignored"),
    ("unknown-list", "warning: a second word that is no list; ignored"),
    (
        "unknown-name",
        "error: a name that does not exist (warning where others are left)",
    ),
    ("unknown-type", "error: no type of Flume's"),
    (
        "unreached-channel",
        "warning: a channel to which a selector sends nothing",
    ),
    ("unresolved", "warning: a ${…} that was not resolved"),
    ("wrong-case", "warning: a key in another case; ignored"),
];
