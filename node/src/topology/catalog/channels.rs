//! Channels. Source: `flume/channels-and-sinks.md` 3.

use super::key::{bare_int, exact, flag, instead, int, long, mute, old, text, word};
use super::{Key, Type, known};

const HEAP: &str = "80 % of the heap";
const BYTE_CAPACITY: Key = long("byteCapacity", 0, 0).unit("bytes").or(HEAP).lenient();
const BYTE_BUFFER: Key = int("byteCapacityBufferPercentage", 20, 0).unit("%").lenient();

const MEMORY: &[Key] = &[
    int("capacity", 100, 1).unit("events").lenient(),
    int("transactionCapacity", 100, 1).unit("events").lenient(),
    int("keep-alive", 3, 0).unit("s").lenient(),
    BYTE_CAPACITY,
    BYTE_BUFFER,
    instead("keepAlive", "keep-alive"),
];

const FILE: &[Key] = &[
    text("checkpointDir").or("~/.flume/file-channel/checkpoint"),
    text("dataDirs").or("~/.flume/file-channel/data"),
    flag("useDualCheckpoints", false),
    text("backupCheckpointDir"),
    flag("compressBackupCheckpoint", false),
    long("checkpointInterval", 30_000, 1).unit("ms").lenient(),
    long("maxFileSize", 1_623_195_647, 1).unit("bytes"),
    long("minimumRequiredSpace", 524_288_000, 0).unit("bytes"),
    flag("use-log-replay-v1", false),
    flag("use-fast-replay", false),
    flag("checkpointOnClose", true),
    flag("fsyncPerTransaction", true),
    int("fsyncInterval", 5, 1).unit("s"),
    text("encryption.activeKey"),
    text("encryption.cipherProvider"),
    text("encryption.keyProvider"),
    text("encryption.keyProvider.*"),
    word("onCorruption", &["stop", "skip"]).or("stop").ours(),
    word("onIoError", &["park", "exit"]).or("park").ours(),
    text("durability").or("commit").ours(),
    instead("dataDir", "dataDirs"),
    instead("checkpointDirs", "checkpointDir"),
    instead("encrpytion.activeKey", "encryption.activeKey"),
    instead("encyption.activeKey", "encryption.activeKey"),
];

const FILE_SIZES: &[Key] = &[
    int("capacity", 1_000_000, 1).unit("events").lenient(),
    int("transactionCapacity", 10_000, 1).unit("events").lenient(),
    int("keep-alive", 3, 0).unit("s"),
    instead("keepAlive", "keep-alive"),
];

const SPILLABLE: &[Key] = &[
    int("memoryCapacity", 10_000, 0).unit("events").lenient(),
    int("overflowCapacity", 100_000_000, 0).unit("events").lenient(),
    int("overflowTimeout", 3, 0).unit("s").lenient(),
    int("overflowDeactivationThreshold", 5, 0).unit("%").lenient(),
    BYTE_CAPACITY,
    BYTE_BUFFER,
    int("avgEventSize", 500, 1).unit("bytes").lenient(),
    int("transactionCapacity", 10_000, 1).unit("events").lenient(),
    mute(
        "capacity",
        "has no effect: memoryCapacity and overflowCapacity are used",
    ),
    mute("keep-alive", "has no effect: overflowTimeout is used"),
];

const JDBC: &[Key] = &[
    text("driver.url"),
    word("db.type", &["DERBY", "MYSQL"]),
    text("driver.class"),
    text("db.username"),
    text("db.password"),
    text("connection.properties.file"),
    flag("create.schema", true),
    flag("create.index", true),
    flag("create.foreignkey", true),
    word(
        "transaction.isolation",
        &[
            "READ_UNCOMMITTED",
            "READ_COMMITTED",
            "REPEATABLE_READ",
            "SERIALIZABLE",
        ],
    )
    .or("READ_COMMITTED"),
    int("maximum.connections", 10, 1).lenient(),
    long("maximum.capacity", 0, 0).unit("events"),
    text("sysprop.*"),
    text("org.apache.flume.channel.jdbc.*"),
];

const KAFKA: &[Key] = &[
    text("kafka.bootstrap.servers"),
    text("kafka.topic").or("flume-channel"),
    text("kafka.consumer.group.id").or("flume"),
    exact(
        "kafka.consumer.auto.offset.reset",
        &["earliest", "latest", "none"],
    )
    .or("earliest"),
    flag("parseAsFlumeEvent", true),
    long("kafka.pollTimeout", 500, 0).unit("ms"),
    bare_int("defaultPartitionId", 0),
    text("partitionIdHeader"),
    flag("migrateZookeeperOffsets", true),
    text("zookeeperConnect"),
    text("kafka.producer.*"),
    text("kafka.consumer.*"),
    old("brokerList", "kafka.bootstrap.servers"),
    old("topic", "kafka.topic"),
    old("groupId", "kafka.consumer.group.id"),
    old("readSmallestOffset", "kafka.consumer.auto.offset.reset"),
    instead("pollTimeout", "kafka.pollTimeout"),
    instead("kafka.parseAsFlumeEvent", "parseAsFlumeEvent"),
];

const PSEUDO: &[Key] = &[
    int("capacity", 50, 1).unit("events"),
    int("keep-alive", 3, 0).unit("s"),
];

pub(super) const ALL: &[Type] = &[
    known("memory", &["org.apache.flume.channel.MemoryChannel"], MEMORY)
        .transaction("transactionCapacity", 100),
    known("file", &["org.apache.flume.channel.file.FileChannel"], FILE)
        .shares(&[FILE_SIZES])
        .transaction("transactionCapacity", 10_000),
    known(
        "spillablememory",
        &["org.apache.flume.channel.SpillableMemoryChannel"],
        SPILLABLE,
    )
    .shares(&[FILE])
    .transaction("transactionCapacity", 10_000),
    known("jdbc", &["org.apache.flume.channel.jdbc.JdbcChannel"], JDBC),
    known("", &["org.apache.flume.channel.kafka.KafkaChannel"], KAFKA)
        .one_of(&[&["kafka.bootstrap.servers", "brokerList"]]),
    known("", &["org.apache.flume.channel.PseudoTxnMemoryChannel"], PSEUDO),
];
