//! Sinks; `channel` is read by the topology. Those of big systems are in `systems.rs`.
//! Source: `flume/channels-and-sinks.md` 6.

use super::key::{bare_int, exact, flag, instead, int, long, mute, old, part, port, text, word};
use super::{Key, Kind, Type, known, systems};

const NULL: &[Key] = &[
    int("batchSize", 100, 1).unit("events"),
    int("logEveryNEvents", 10_000, 1).unit("events"),
];

const LOGGER: &[Key] = &[
    int("maxBytesToLog", 16, 0).unit("bytes").lenient(),
    instead("maxBytesToDump", "maxBytesToLog"),
];

const FILE_ROLL: &[Key] = &[
    text("sink.directory").required(),
    long("sink.rollInterval", 30, i64::MIN).unit("s"),
    int("sink.batchSize", 100, 1).unit("events"),
    part("sink.serializer", Kind::Serializer).or("TEXT"),
    part("sink.pathManager", Kind::PathManager).or("DEFAULT"),
    word("sink.sync", &["channel", "always", "never"])
        .or("channel")
        .ours(),
    instead("batchSize", "sink.batchSize"),
];

/// What the two RPC sinks have in common.
const RPC: &[Key] = &[
    text("hostname").required(),
    port("port").required(),
    int("batch-size", 100, 1).unit("events").lenient(),
    int("request-timeout", 20_000, 1_000).unit("ms").lenient(),
    int("reset-connection-interval", 0, 0).unit("s"),
    flag("ssl", false),
    text("truststore"),
    text("truststore-password"),
    text("truststore-type"),
    text("exclude-protocols"),
    text("include-protocols"),
    text("exclude-cipher-suites"),
    text("include-cipher-suites"),
    instead("batchSize", "batch-size"),
    instead("bind", "hostname"),
    instead("host", "hostname"),
    instead("connection-reset-interval", "reset-connection-interval"),
];

const AVRO: &[Key] = &[
    int("connect-timeout", 20_000, 1_000).unit("ms").lenient(),
    word("compression-type", &["none", "deflate"])
        .or("none")
        .lenient(),
    int("compression-level", 6, 0).lenient(),
    flag("trust-all-certs", false),
    word("tls-nesting", &["inner", "outer"]).or("inner").ours(),
    mute("maxIoWorkers", "has no effect, as in Flume 1.11"),
    text("client.type").or("default"),
];

/// Read by the clients that `client.type` chooses; none of them is built.
const CLIENTS: &[Key] = &[
    text("hosts"),
    text("hosts.*"),
    bare_int("max-attempts", 1),
    text("host-selector"),
    flag("backoff", false),
    bare_int("maxBackoff", 1),
];

const THRIFT: &[Key] = &[
    mute("connect-timeout", "has no effect, as in Flume 1.11"),
    word("protocol", &["compact", "binary"]).or("compact"),
    flag("kerberos", false),
    text("client-principal"),
    text("client-keytab"),
    text("server-principal"),
    mute("maxConnections", "has no effect: a sink has one connection"),
    mute("trust-all-certs", "has no effect: only an avro sink has it"),
    mute("compression-type", "has no effect: only an avro sink compresses"),
];

const IRC: &[Key] = &[
    text("hostname").required(),
    int("port", 6_667, 1),
    text("nick").required(),
    text("chan").required(),
    text("user"),
    text("name"),
    text("password"),
    flag("splitlines", false),
    text("splitchars").or("\\n"),
];

const HTTP: &[Key] = &[
    text("endpoint").required(),
    int("connectTimeout", 5_000, 1).unit("ms"),
    int("requestTimeout", 5_000, 1).unit("ms"),
    text("contentTypeHeader").or("text/plain"),
    text("acceptHeader").or("text/plain"),
    flag("defaultBackoff", true),
    flag("defaultRollback", true),
    flag("defaultIncrementMetrics", false),
    text("backoff.*"),
    text("rollback.*"),
    text("incrementMetrics.*"),
    int("requestsInFlight", 1, 1).unit("requests").ours(),
];

const HDFS: &[Key] = &[
    text("hdfs.path").required(),
    text("hdfs.filePrefix").or("FlumeData"),
    text("hdfs.fileSuffix"),
    text("hdfs.inUsePrefix"),
    text("hdfs.inUseSuffix").or(".tmp"),
    flag("hdfs.emptyInUseSuffix", false),
    long("hdfs.rollInterval", 30, 0).unit("s"),
    long("hdfs.rollSize", 1_024, 0).unit("bytes"),
    long("hdfs.rollCount", 10, 0).unit("events"),
    int("hdfs.idleTimeout", 0, 0).unit("s"),
    long("hdfs.batchSize", 100, 1).unit("events"),
    text("hdfs.codeC"),
    word(
        "hdfs.fileType",
        &["SequenceFile", "DataStream", "CompressedStream"],
    )
    .or("SequenceFile"),
    text("hdfs.writeFormat").or("Writable"),
    text("writeFormat.*"),
    part("serializer", Kind::Serializer).or("TEXT"),
    int("hdfs.maxOpenFiles", 5_000, 1),
    bare_int("hdfs.minBlockReplicas", 0),
    int("hdfs.threadsPoolSize", 10, 1),
    int("hdfs.rollTimerPoolSize", 1, 1),
    long("hdfs.callTimeout", 30_000, i64::MIN).unit("ms"),
    int("hdfs.closeTries", 0, 0).or("unlimited").lenient(),
    long("hdfs.retryInterval", 180, 1).unit("s").lenient(),
    flag("hdfs.round", false),
    int("hdfs.roundValue", 1, 1),
    word("hdfs.roundUnit", &["second", "minute", "hour"])
        .or("second")
        .lenient(),
    text("hdfs.timeZone").or("local"),
    flag("hdfs.useLocalTimeStamp", false),
    text("hdfs.kerberosPrincipal"),
    text("hdfs.kerberosKeytab"),
    text("hdfs.proxyUser"),
    flag("hdfs.useRawLocalFileSystem", false),
    instead("hdfs.serializer", "serializer"),
    instead("hdfs.batch-size", "hdfs.batchSize"),
    instead("batch-size", "hdfs.batchSize"),
    instead("hdfs.file.Type", "hdfs.fileType"),
    instead("hdfs.compression", "hdfs.codeC"),
    instead("hdfs.compressionCodec", "hdfs.codeC"),
    mute(
        "hdfs.txnEventMax",
        "has no effect since Flume 1.4: hdfs.batchSize is the one",
    ),
    mute(
        "hdfs.appendTimeout",
        "has no effect since Flume 1.4: hdfs.callTimeout is the one",
    ),
];

const KAFKA: &[Key] = &[
    text("kafka.bootstrap.servers"),
    text("kafka.topic").or("default-flume-topic"),
    int("flumeBatchSize", 100, 1).unit("events"),
    exact("kafka.producer.acks", &["0", "1", "-1", "all"]).or("1"),
    text("kafka.producer.*"),
    flag("useFlumeEventFormat", false),
    bare_int("defaultPartitionId", 0),
    text("partitionIdHeader"),
    flag("allowTopicOverride", true),
    text("topicHeader").or("topic"),
    text("timestampHeader"),
    text("header.*"),
    old("brokerList", "kafka.bootstrap.servers"),
    old("topic", "kafka.topic"),
    old("batchSize", "flumeBatchSize"),
    old("requiredAcks", "kafka.producer.acks"),
    mute(
        "serializer.class",
        "deprecated, has no effect: kafka.producer.value.serializer is the one",
    ),
    mute(
        "key.serializer.class",
        "deprecated, has no effect: kafka.producer.key.serializer is the one",
    ),
    instead("kafka.flumeBatchSize", "flumeBatchSize"),
    instead("kafka.batchSize", "flumeBatchSize"),
    instead("batch-size", "flumeBatchSize"),
    instead("batch.size", "flumeBatchSize"),
    instead("kafka.topics", "kafka.topic"),
    instead("kafka.brokerList", "kafka.bootstrap.servers"),
    instead("kafka.requiredAcks", "kafka.producer.acks"),
    instead("kafka.useFlumeEventFormat", "useFlumeEventFormat"),
    instead("bootstrap.servers", "kafka.bootstrap.servers"),
    mute(
        "producer.type",
        "has no effect: settings of the producer begin with kafka.producer.",
    ),
];

const BATCH: &[&str] = &["batchSize"];

pub(super) const ALL: &[Type] = &[
    known("null", &["org.apache.flume.sink.NullSink"], NULL).batch(BATCH, 100),
    known("logger", &["org.apache.flume.sink.LoggerSink"], LOGGER),
    known("file_roll", &["org.apache.flume.sink.RollingFileSink"], FILE_ROLL).batch(&["sink.batchSize"], 100),
    known("avro", &["org.apache.flume.sink.AvroSink"], AVRO)
        .shares(&[RPC, CLIENTS])
        .batch(&["batch-size"], 100),
    known("thrift", &["org.apache.flume.sink.ThriftSink"], THRIFT)
        .shares(&[RPC])
        .batch(&["batch-size"], 100),
    known("irc", &["org.apache.flume.sink.irc.IRCSink"], IRC),
    known("http", &["org.apache.flume.sink.http.HttpSink"], HTTP),
    known("hdfs", &["org.apache.flume.sink.hdfs.HDFSEventSink"], HDFS).batch(&["hdfs.batchSize"], 100),
    known("", &["org.apache.flume.sink.kafka.KafkaSink"], KAFKA)
        .one_of(&[&["kafka.bootstrap.servers", "brokerList"]])
        .batch(&["flumeBatchSize", "batchSize"], 100),
    known("hive", &["org.apache.flume.sink.hive.HiveSink"], systems::HIVE).batch(BATCH, 15_000),
    known(
        "hbase",
        &["org.apache.flume.sink.hbase.HBaseSink"],
        systems::HBASE,
    )
    .shares(&[systems::HBASE_KERBEROS])
    .batch(BATCH, 100),
    known(
        "hbase2",
        &["org.apache.flume.sink.hbase2.HBase2Sink"],
        systems::HBASE,
    )
    .shares(&[systems::HBASE_KERBEROS])
    .batch(BATCH, 100),
    known(
        "asynchbase",
        &["org.apache.flume.sink.hbase.AsyncHBaseSink"],
        systems::HBASE,
    )
    .shares(&[systems::ASYNC_HBASE])
    .batch(BATCH, 100),
    known(
        "morphline_solr",
        &[
            "org.apache.flume.sink.solr.morphline.MorphlineSolrSink",
            "org.apache.flume.sink.solr.morphline.MorphlineSink",
        ],
        systems::MORPHLINE,
    )
    .batch(BATCH, 1_000),
    known(
        "elasticsearch",
        &["org.apache.flume.sink.elasticsearch.ElasticSearchSink"],
        systems::ELASTICSEARCH,
    )
    .batch(BATCH, 100),
    known("", &["org.apache.flume.sink.kite.DatasetSink"], systems::KITE)
        .one_of(&[&["kite.dataset.uri", "kite.repo.uri"]])
        .batch(&["kite.batchSize"], 100),
    known(
        "",
        &[
            "org.apache.flume.sink.kudu.KuduSink",
            "org.apache.kudu.flume.sink.KuduSink",
        ],
        systems::KUDU,
    ),
];
