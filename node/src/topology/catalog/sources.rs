//! Sources. What every source has besides (`channels`, `interceptors`, `selector`) is read by the topology.
//! Source: `flume/sources.md` 2, 4 and 5.

use super::key::{bare_int, flag, instead, int, listens, long, mute, names, old, part, text, word};
use super::{Key, Kind, Type, known};

/// Of all that the runner polls.
const POLLED: &[Key] = &[
    int("backoffSleepIncrement", 1_000, 1).unit("ms"),
    int("maxBackoffSleep", 5_000, 1).unit("ms"),
];

/// Listeners with TLS.
const TLS: &[Key] = &[
    flag("ssl", false),
    text("keystore"),
    text("keystore-password"),
    word("keystore-type", &["JKS", "PKCS12"]).or("JKS").lenient(),
    text("exclude-protocols").or("SSLv3"),
    text("include-protocols"),
    text("exclude-cipher-suites"),
    text("include-cipher-suites"),
];

/// Those who write the keystore as `http` once did.
const TLS_CONFUSED: &[Key] = &[
    instead("enableSSL", "ssl"),
    instead("keystorePassword", "keystore-password"),
    instead("keystoreType", "keystore-type"),
    instead("excludeProtocols", "exclude-protocols"),
];

const AVRO: &[Key] = &[
    text("bind").required(),
    listens("port").required(),
    mute("threads", "has no effect, as in Flume 1.11"),
    word("compression-type", &["none", "deflate"])
        .or("none")
        .lenient(),
    flag("ipFilter", false),
    text("ipFilterRules"),
    int("maxFrameBytes", 64 << 20, 1_024).ours(),
    int("maxConnections", 10_000, 1).ours(),
    long("maxBufferedBytes", 256 << 20, 1 << 20).ours(),
    instead("host", "bind"),
    instead("hostname", "bind"),
];

const THRIFT: &[Key] = &[
    text("bind").required(),
    listens("port").required(),
    bare_int("threads", i32::MIN as i64).lenient(),
    word("protocol", &["compact", "binary"]).or("compact"),
    flag("kerberos", false),
    text("agent-principal"),
    text("agent-keytab"),
    instead("host", "bind"),
    instead("hostname", "bind"),
];

const EXEC: &[Key] = &[
    text("command").required(),
    text("shell"),
    flag("restart", false),
    long("restartThrottle", 10_000, 0).unit("ms"),
    flag("logStdErr", false),
    int("batchSize", 20, i32::MIN as i64).unit("events"),
    long("batchTimeout", 3_000, 1).unit("ms"),
    text("charset").or("UTF-8"),
    flag("logStderr", false).ours(),
    int("maxLineBytes", 0, 1).ours(),
];

const JMS: &[Key] = &[
    text("initialContextFactory").required(),
    text("providerURL").required(),
    text("connectionFactory").or("ConnectionFactory"),
    text("destinationName").required(),
    word("destinationType", &["queue", "topic"]).required(),
    word("destinationLocator", &["CDI", "JNDI"]).or("CDI"),
    text("messageSelector"),
    text("userName"),
    text("passwordFile"),
    int("batchSize", 100, 1).unit("messages"),
    long("pollTimeout", 1_000, 0).unit("ms"),
    int("errorThreshold", 10, 0),
    text("converter.type").or("DEFAULT"),
    text("converter.*"),
    flag("createDurableSubscription", false),
    text("clientId"),
    text("durableSubscriptionName"),
    instead("providerUrl", "providerURL"),
    instead("username", "userName"),
];

const SPOOLDIR: &[Key] = &[
    text("spoolDir").required(),
    text("fileSuffix").or(".COMPLETED"),
    word("deletePolicy", &["never", "immediate"]).or("never"),
    word("trackingPolicy", &["rename", "tracker_dir"]).or("rename"),
    text("trackerDir").or(".flumespool"),
    flag("fileHeader", false),
    text("fileHeaderKey").or("file"),
    flag("basenameHeader", false),
    text("basenameHeaderKey").or("basename"),
    text("includePattern").or("^.*$"),
    text("ignorePattern").or("^$"),
    word("consumeOrder", &["oldest", "youngest", "random"]).or("oldest"),
    int("pollDelay", 500, 1).unit("ms"),
    flag("recursiveDirectorySearch", false),
    int("maxBackoff", 4_000, 1).unit("ms"),
    int("batchSize", 100, 1).unit("events"),
    text("inputCharset").or("UTF-8"),
    word("decodeErrorPolicy", &["FAIL", "REPLACE", "IGNORE"]).or("FAIL"),
    part("deserializer", Kind::Deserializer).or("LINE"),
    old("bufferMaxLineLength", "deserializer.maxLineLength"),
    mute("bufferMaxLines", "has no effect since Flume 1.4"),
    instead("filePrefix", "fileHeaderKey"),
];

const TAILDIR: &[Key] = &[
    names("filegroups").required(),
    text("filegroups.*"),
    text("positionFile").or("~/.flume/taildir_position.json"),
    text("headers.*"),
    flag("byteOffsetHeader", false),
    flag("fileHeader", false),
    text("fileHeaderKey").or("file"),
    flag("skipToEnd", false),
    int("idleTimeout", 120_000, 0).unit("ms"),
    int("writePosInterval", 3_000, 1).unit("ms"),
    int("batchSize", 100, 1).unit("lines"),
    long("maxBatchCount", i64::MAX, 1).unit("batches").lenient(),
    flag("cachePatternMatching", true),
    int("maxLineBytes", 64 << 20, 1).unit("bytes").ours(),
    int("maxOpenFiles", 256, 1).unit("files").ours(),
    instead("fileGroups", "filegroups"),
];

const KAFKA: &[Key] = &[
    text("kafka.bootstrap.servers"),
    text("kafka.topics"),
    text("kafka.topics.regex"),
    text("kafka.consumer.group.id").or("flume"),
    int("batchSize", 1_000, 1).unit("events"),
    int("batchDurationMillis", 1_000, 1).unit("ms"),
    flag("useFlumeEventFormat", false),
    flag("setTopicHeader", true),
    text("topicHeader").or("topic"),
    text("header.*"),
    text("kafka.consumer.*"),
    flag("migrateZookeeperOffsets", true),
    old("topic", "kafka.topics"),
    old("groupId", "kafka.consumer.group.id"),
    old("zookeeperConnect", "kafka.bootstrap.servers"),
    instead("kafka.topic", "kafka.topics"),
    instead("topics", "kafka.topics"),
    instead("brokerList", "kafka.bootstrap.servers"),
    instead("bootstrap.servers", "kafka.bootstrap.servers"),
    instead("kafka.batchSize", "batchSize"),
    instead("kafka.batchDurationMillis", "batchDurationMillis"),
    instead("kafka.group.id", "kafka.consumer.group.id"),
];

const NETCAT: &[Key] = &[
    text("bind").required(),
    listens("port").required(),
    int("max-line-length", 512, 1).unit("characters"),
    flag("ack-every-event", true),
    text("encoding").or("utf-8"),
    int("maxConnections", 10_000, 1).ours(),
    long("idleTimeout", 0, 0).unit("ms").ours(),
    instead("host", "bind"),
    instead("hostname", "bind"),
    instead("charset", "encoding"),
];

const NETCATUDP: &[Key] = &[
    text("bind"),
    listens("port").required(),
    text("remoteAddress"),
    text("remoteAddressHeader").ours(),
    instead("host", "bind"),
];

const SEQ: &[Key] = &[
    int("batchSize", 1, 1).unit("events"),
    long("totalEvents", i64::MAX, i64::MIN),
];

/// What the two parsers of old have in common.
const SYSLOG: &[Key] = &[
    text("keepFields").or("none"),
    text("clientIPHeader"),
    text("clientHostnameHeader"),
    instead("bind", "host"),
    instead("hostname", "host"),
];

const SYSLOG_FORMAT: &[Key] = &[
    text("format.regex"),
    text("format.search"),
    text("format.replace"),
    text("format.dateFormat"),
];

const SYSLOGTCP: &[Key] = &[
    text("host"),
    listens("port").required(),
    int("eventSize", 2_500, 1).unit("bytes"),
    int("maxConnections", 10_000, 1).ours(),
    long("idleTimeout", 0, 0).unit("ms").ours(),
    instead("ports", "port"),
];

const SYSLOGUDP: &[Key] = &[text("host"), listens("port").required(), instead("ports", "port")];

const MULTIPORT: &[Key] = &[
    text("host"),
    names("ports").required(),
    int("eventSize", 2_500, 1).unit("bytes"),
    int("batchSize", 100, 1).unit("events"),
    int("readBufferBytes", 1_024, 1).unit("bytes"),
    mute(
        "numProcessors",
        "has no effect: all connections share the node's threads",
    ),
    text("portHeader"),
    text("charset.default").or("UTF-8"),
    text("charset.port.*"),
    int("readBufferSize", 1_024, 1).unit("bytes").ours(),
    int("maxConnections", 10_000, 1).ours(),
    long("idleTimeout", 0, 0).unit("ms").ours(),
    instead("port", "ports"),
];

const HTTP: &[Key] = &[
    listens("port").required(),
    text("bind").or("0.0.0.0"),
    part("handler", Kind::Handler).or("org.apache.flume.source.http.JSONHandler"),
    text("QueuedThreadPool.*"),
    text("HttpConfiguration.*"),
    text("ServerConnector.*"),
    text("SslContextFactory.*"),
    // For morphline's BlobHandler, which cuts, there is no limit.
    long("maxRequestBytes", 64 << 20, 1).unit("bytes").ours(),
    int("maxConnections", 10_000, 1).ours(),
    // Or twice what one request may hold.
    long("maxBufferedBytes", 256 << 20, 1 << 20).unit("bytes").ours(),
    old("enableSSL", "ssl"),
    old("keystorePassword", "keystore-password"),
    old("excludeProtocols", "exclude-protocols"),
    instead("host", "bind"),
    instead("hostname", "bind"),
];

const STRESS: &[Key] = &[
    int("size", 500, 0).unit("bytes"),
    long("maxTotalEvents", -1, i64::MIN),
    long("maxSuccessfulEvents", -1, i64::MIN),
    int("batchSize", 1, 1).unit("events"),
    int("maxEventsPerSecond", 0, 0),
];

const TWITTER: &[Key] = &[
    text("consumerKey").required(),
    text("consumerSecret").required(),
    text("accessToken").required(),
    text("accessTokenSecret").required(),
    int("maxBatchSize", 1_000, 1).unit("events"),
    int("maxBatchDurationMillis", 1_000, 1).unit("ms"),
];

const LEGACY: &[Key] = &[
    text("host").required(),
    listens("port").required(),
    instead("bind", "host"),
];

const SCRIBE: &[Key] = &[
    int("port", 1_499, 0),
    int("workerThreads", 5, 1).lenient(),
    int("maxReadBufferBytes", 16_384_000, 1).unit("bytes").lenient(),
];

pub(super) const ALL: &[Type] = &[
    known("avro", &["org.apache.flume.source.AvroSource"], AVRO).shares(&[TLS, TLS_CONFUSED]),
    known("thrift", &["org.apache.flume.source.ThriftSource"], THRIFT).shares(&[TLS, TLS_CONFUSED]),
    known("exec", &["org.apache.flume.source.ExecSource"], EXEC).batch(&["batchSize"], 20),
    known("jms", &["org.apache.flume.source.jms.JMSSource"], JMS)
        .shares(&[POLLED])
        .batch(&["batchSize"], 100),
    known(
        "spooldir",
        &["org.apache.flume.source.SpoolDirectorySource"],
        SPOOLDIR,
    )
    .batch(&["batchSize"], 100),
    known(
        "taildir",
        &["org.apache.flume.source.taildir.TaildirSource"],
        TAILDIR,
    )
    .shares(&[POLLED])
    .batch(&["batchSize"], 100),
    known("", &["org.apache.flume.source.kafka.KafkaSource"], KAFKA)
        .shares(&[POLLED])
        .one_of(&[
            &["kafka.bootstrap.servers", "zookeeperConnect"],
            &["kafka.topics", "kafka.topics.regex", "topic"],
        ])
        .batch(&["batchSize"], 1_000),
    known("netcat", &["org.apache.flume.source.NetcatSource"], NETCAT),
    known(
        "netcatudp",
        &["org.apache.flume.source.NetcatUdpSource"],
        NETCATUDP,
    ),
    known("seq", &["org.apache.flume.source.SequenceGeneratorSource"], SEQ)
        .shares(&[POLLED])
        .batch(&["batchSize"], 1),
    known(
        "syslogtcp",
        &["org.apache.flume.source.SyslogTcpSource"],
        SYSLOGTCP,
    )
    .shares(&[SYSLOG, SYSLOG_FORMAT, TLS, TLS_CONFUSED]),
    known(
        "syslogudp",
        &["org.apache.flume.source.SyslogUDPSource"],
        SYSLOGUDP,
    )
    .shares(&[SYSLOG, SYSLOG_FORMAT]),
    known(
        "multiport_syslogtcp",
        &["org.apache.flume.source.MultiportSyslogTCPSource"],
        MULTIPORT,
    )
    .shares(&[SYSLOG, TLS, TLS_CONFUSED])
    .batch(&["batchSize"], 100),
    known("http", &["org.apache.flume.source.http.HTTPSource"], HTTP).shares(&[TLS]),
    known("stress", &["org.apache.flume.source.StressSource"], STRESS)
        .shares(&[POLLED])
        .batch(&["batchSize"], 1),
    known("", &["org.apache.flume.source.twitter.TwitterSource"], TWITTER).batch(&["maxBatchSize"], 1_000),
    known(
        "",
        &["org.apache.flume.source.avroLegacy.AvroLegacySource"],
        LEGACY,
    ),
    known(
        "",
        &["org.apache.flume.source.thriftLegacy.ThriftLegacySource"],
        LEGACY,
    ),
    known("", &["org.apache.flume.source.scribe.ScribeSource"], SCRIBE),
    known(
        "embedded",
        &["org.apache.flume.agent.embedded.EmbeddedSource"],
        &[],
    ),
];
