//! Sinks that write into other big systems (Hive, HBase, Solr, Elasticsearch, Kite, Kudu), and their parts.
//! Source: `flume/channels-and-sinks.md` 6.9 to 6.15.

use super::key::{flag, instead, int, long, part, text, word};
use super::{Key, Kind, Type, known};

pub(super) const HIVE: &[Key] = &[
    text("hive.metastore").required(),
    text("hive.database").required(),
    text("hive.table").required(),
    text("hive.partition"),
    int("hive.txnsPerBatchAsk", 100, 0).lenient(),
    int("batchSize", 15_000, 1).unit("events"),
    int("idleTimeout", 0, 0).unit("ms"),
    int("callTimeout", 10_000, 0).unit("ms").lenient(),
    int("heartBeatInterval", 240, 0).unit("s"),
    int("maxOpenConnections", 500, 1),
    flag("autoCreatePartitions", true),
    flag("useLocalTimeStamp", false),
    text("timeZone").or("local"),
    flag("round", false),
    word("roundUnit", &["second", "minute", "hour"])
        .or("minute")
        .lenient(),
    int("roundValue", 1, 1),
    part("serializer", Kind::RecordSerializer).required(),
    instead("hive.batchSize", "batchSize"),
];

pub(super) const HBASE: &[Key] = &[
    text("table").required(),
    text("columnFamily").required(),
    int("batchSize", 100, 1).unit("events"),
    part("serializer", Kind::RowSerializer),
    text("zookeeperQuorum"),
    text("znodeParent").or("/hbase"),
    flag("enableWal", true),
    flag("coalesceIncrements", false),
    instead("batch-size", "batchSize"),
    instead("columnfamily", "columnFamily"),
    instead("column-family", "columnFamily"),
];

pub(super) const HBASE_KERBEROS: &[Key] = &[text("kerberosPrincipal"), text("kerberosKeytab")];

pub(super) const ASYNC_HBASE: &[Key] = &[
    long("timeout", 60_000, 1).unit("ms").lenient(),
    int("maxConsecutiveFails", 10, 1),
    text("async.*"),
];

pub(super) const MORPHLINE: &[Key] = &[
    text("morphlineFile").required(),
    text("morphlineId"),
    int("batchSize", 1_000, 1).unit("events"),
    int("batchDurationMillis", 1_000, 1).unit("ms"),
    text("handlerClass").or("org.apache.flume.sink.solr.morphline.MorphlineHandlerImpl"),
    flag("isProductionMode", false),
    flag("isIgnoringRecoverableExceptions", false),
    text("recoverableExceptionClasses"),
    text("morphlineVariable.*"),
];

pub(super) const ELASTICSEARCH: &[Key] = &[
    text("hostNames").required(),
    text("indexName").or("flume"),
    text("indexType").or("log"),
    text("clusterName").or("elasticsearch"),
    int("batchSize", 100, 1).unit("events"),
    text("ttl"),
    part("serializer", Kind::DocumentSerializer),
    text("indexNameBuilder").or("org.apache.flume.sink.elasticsearch.TimeBasedIndexNameBuilder"),
    text("indexNameBuilder.*"),
    word("client", &["transport", "rest"]).or("transport"),
    text("client.*"),
    instead("hostnames", "hostNames"),
    instead("hosts", "hostNames"),
];

pub(super) const KITE: &[Key] = &[
    text("kite.dataset.uri"),
    text("kite.repo.uri"),
    text("kite.dataset.name"),
    text("kite.dataset.namespace").or("default"),
    long("kite.batchSize", 100, 1).unit("events"),
    int("kite.rollInterval", 30, 0).unit("s"),
    flag("kite.flushable.commiteOnBatch", true),
    instead("kite.flushable.commitOnBatch", "kite.flushable.commiteOnBatch"),
    flag("kite.syncable.syncOnBatch", true),
    text("kite.entityParser").or("avro"),
    text("kite.failurePolicy").or("retry"),
    text("kite.error.dataset.uri"),
    text("auth.kerberosPrincipal"),
    text("auth.kerberosKeytab"),
    text("auth.proxyUser"),
];

pub(super) const KUDU: &[Key] = &[
    text("masterAddresses").required(),
    text("tableName").required(),
    int("batchSize", 1_000, 1).unit("events"),
    long("timeoutMillis", 30_000, 1).unit("ms"),
    flag("ignoreDuplicateRows", true),
    part("producer", Kind::Producer),
    text("kerberosPrincipal"),
    text("kerberosKeytab"),
    text("proxyUser"),
];

const SIMPLE_ROWS: &[Key] = &[
    text("rowPrefix").or("default"),
    word("suffix", &["uuid", "random", "timestamp", "nano"])
        .or("uuid")
        .lenient(),
    text("payloadColumn").or("pCol"),
    text("incrementColumn").or("iCol"),
    text("incrementRow").or("incRow"),
];

const REGEX_ROWS: &[Key] = &[
    text("regex").or("(.*)"),
    flag("regexIgnoreCase", false),
    text("colNames").or("payload"),
    int("rowKeyIndex", -1, -1),
    flag("depositHeaders", false),
    text("charset").or("UTF-8"),
];

pub(super) const ROW_SERIALIZERS: &[Type] = &[
    known(
        "",
        &[
            "org.apache.flume.sink.hbase.SimpleHbaseEventSerializer",
            "org.apache.flume.sink.hbase2.SimpleHBase2EventSerializer",
            "org.apache.flume.sink.hbase.SimpleAsyncHbaseEventSerializer",
        ],
        SIMPLE_ROWS,
    ),
    known(
        "",
        &[
            "org.apache.flume.sink.hbase.RegexHbaseEventSerializer",
            "org.apache.flume.sink.hbase2.RegexHBase2EventSerializer",
        ],
        REGEX_ROWS,
    ),
];

pub(super) const RECORD_SERIALIZERS: &[Type] = &[
    known(
        "delimited",
        &["org.apache.flume.sink.hive.HiveDelimitedTextSerializer"],
        &[
            text("delimiter").or(","),
            text("fieldnames").required(),
            text("serdeSeparator").or("Ctrl-A"),
        ],
    ),
    known("json", &["org.apache.flume.sink.hive.HiveJsonSerializer"], &[]),
];

const OPERATION: Key = word("operation", &["insert", "upsert"]).or("upsert");

pub(super) const PRODUCERS: &[Type] = &[
    known(
        "",
        &["org.apache.flume.sink.kudu.SimpleKuduOperationsProducer"],
        &[text("payloadColumn").or("payload")],
    ),
    known(
        "",
        &["org.apache.flume.sink.kudu.SimpleKeyedKuduOperationsProducer"],
        &[
            text("payloadColumn").or("payload"),
            text("keyColumn").or("key"),
            OPERATION,
        ],
    ),
    known(
        "",
        &["org.apache.flume.sink.kudu.RegexpKuduOperationsProducer"],
        &[
            text("pattern").required(),
            text("encoding").or("utf-8"),
            instead("charset", "encoding"),
            OPERATION,
            word("missingColumnPolicy", POLICIES).or("REJECT"),
            word("badColumnValuePolicy", POLICIES).or("REJECT"),
            word("unmatchedRowPolicy", POLICIES).or("WARN"),
            flag("skipMissingColumn", false),
            flag("skipBadColumnValue", false),
            flag("skipUnmatchedRows", true),
        ],
    ),
    known(
        "",
        &["org.apache.flume.sink.kudu.AvroKuduOperationsProducer"],
        &[OPERATION, text("schemaPath")],
    ),
];

const POLICIES: &[&str] = &["WARN", "IGNORE", "REJECT"];

pub(super) const DOCUMENT_SERIALIZERS: &[Type] = &[
    known(
        "",
        &["org.apache.flume.sink.elasticsearch.ElasticSearchLogStashEventSerializer"],
        &[],
    ),
    known(
        "",
        &["org.apache.flume.sink.elasticsearch.ElasticSearchDynamicSerializer"],
        &[],
    ),
];
