//! What belongs to sources, sinks and agents: processors, selectors, interceptors, serializers and their kin.
//! Source: `flume/channels-and-sinks.md` 4 and 5.2, `flume/sources.md` 5.16, 6 to 8, `flume/runtime.md` 2.4.

use super::key::{flag, instead, int, long, names, text, word};
use super::{Key, Type, known};

/// Of a group; the processor's keys stand below `processor.`, which is left out here.
pub(super) const PROCESSORS: &[Type] = &[
    known("default", &["org.apache.flume.sink.DefaultSinkProcessor"], &[]),
    known(
        "failover",
        &["org.apache.flume.sink.FailoverSinkProcessor"],
        &[
            text("priority.*"),
            int("maxpenalty", 30_000, 1).unit("ms").lenient(),
            instead("maxPenalty", "maxpenalty"),
            instead("priorities", "priority.<sink>"),
        ],
    ),
    known(
        "load_balance",
        &["org.apache.flume.sink.LoadBalancingSinkProcessor"],
        &[
            text("selector").or("round_robin"),
            flag("backoff", false),
            long("selector.maxTimeOut", 30_000, 0).unit("ms"),
            instead("selector.maxTimeout", "selector.maxTimeOut"),
            instead("maxTimeOut", "selector.maxTimeOut"),
            instead("selector.type", "selector"),
        ],
    ),
];

pub(super) const SELECTORS: &[Type] = &[
    known(
        "replicating",
        &["org.apache.flume.channel.ReplicatingChannelSelector"],
        &[names("optional")],
    ),
    known(
        "multiplexing",
        &["org.apache.flume.channel.MultiplexingChannelSelector"],
        &[
            text("header").or("flume.selector.header"),
            names("default"),
            text("mapping.*"),
            text("optional.*"),
        ],
    ),
    known(
        "load_balancing",
        &["org.apache.flume.channel.LoadBalancingChannelSelector"],
        &[word("policy", &["round_robin", "random"]).or("round_robin")],
    ),
];

const PRESERVE: Key = flag("preserveExisting", false);

pub(super) const INTERCEPTORS: &[Type] = &[
    known(
        "timestamp",
        &["org.apache.flume.interceptor.TimestampInterceptor$Builder"],
        &[
            text("headerName").or("timestamp"),
            PRESERVE,
            instead("header", "headerName"),
        ],
    ),
    known(
        "host",
        &["org.apache.flume.interceptor.HostInterceptor$Builder"],
        &[
            text("hostHeader").or("host"),
            flag("useIP", true),
            PRESERVE,
            instead("header", "hostHeader"),
            instead("headerName", "hostHeader"),
        ],
    ),
    known(
        "static",
        &["org.apache.flume.interceptor.StaticInterceptor$Builder"],
        &[
            text("key").or("key"),
            text("value").or("value"),
            flag("preserveExisting", true),
        ],
    ),
    known(
        "remove_header",
        &["org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder"],
        &[
            text("withName"),
            text("fromList"),
            text("fromListSeparator").or("\\s*,\\s*"),
            text("matching"),
        ],
    ),
    known(
        "search_replace",
        &["org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder"],
        &[
            text("searchPattern").required(),
            text("replaceString"),
            text("charset").or("UTF-8"),
        ],
    ),
    known(
        "regex_filter",
        &["org.apache.flume.interceptor.RegexFilteringInterceptor$Builder"],
        &[
            text("regex").or(".*"),
            flag("excludeEvents", false),
            instead("excludeRegex", "excludeEvents"),
        ],
    ),
    known(
        "regex_extractor",
        &["org.apache.flume.interceptor.RegexExtractorInterceptor$Builder"],
        &[
            text("regex").required(),
            names("serializers").required(),
            text("serializers.*"),
        ],
    ),
    known(
        // Flume has no alias for it.
        "uuid",
        &["org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"],
        &[
            text("headerName").or("id"),
            flag("preserveExisting", true),
            text("prefix"),
        ],
    ),
    known(
        "",
        &["org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder"],
        &[
            text("morphlineFile").required(),
            text("morphlineId"),
            text("morphlineVariable.*"),
            flag("isProductionMode", false),
            flag("isIgnoringRecoverableExceptions", false),
            text("recoverableExceptionClasses"),
        ],
    ),
];

pub(super) const GROUP_SERIALIZERS: &[Type] = &[
    known(
        "default",
        &["org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer"],
        &[text("name").required()],
    ),
    known(
        "",
        &["org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer"],
        &[text("name").required(), text("pattern").required()],
    ),
];

const NEWLINE: &[Key] = &[flag("appendNewline", true)];
const CONTAINER: &[Key] = &[
    int("syncIntervalBytes", 2_048_000, 32).unit("bytes"),
    text("compressionCodec").or("null"),
    instead("syncInterval", "syncIntervalBytes"),
];

pub(super) const SERIALIZERS: &[Type] = &[
    known(
        "text",
        &["org.apache.flume.serialization.BodyTextEventSerializer$Builder"],
        NEWLINE,
    ),
    known(
        "header_and_text",
        &["org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder"],
        NEWLINE,
    ),
    known(
        "avro_event",
        &["org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder"],
        CONTAINER,
    ),
    known(
        "",
        &["org.apache.flume.sink.hdfs.AvroEventSerializer$Builder"],
        &[text("schemaURL")],
    )
    .shares(&[CONTAINER]),
];

pub(super) const DESERIALIZERS: &[Type] = &[
    known(
        "line",
        &["org.apache.flume.serialization.LineDeserializer$Builder"],
        &[
            int("maxLineLength", 2_048, 1).unit("characters"),
            text("outputCharset").or("UTF-8"),
        ],
    ),
    known(
        "avro",
        &["org.apache.flume.serialization.AvroEventDeserializer$Builder"],
        &[
            word("schemaType", &["HASH", "LITERAL"]).or("HASH"),
            int("maxBlockBytes", 64 << 20, 1).unit("bytes").ours(),
        ],
    ),
    known(
        "blob",
        &["org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder"],
        &[int("maxBlobLength", 100_000_000, 1).unit("bytes")],
    ),
];

pub(super) const HANDLERS: &[Type] = &[
    known("", &["org.apache.flume.source.http.JSONHandler"], &[]),
    known(
        "",
        &["org.apache.flume.source.http.BLOBHandler"],
        &[text("mandatoryParameters")],
    ),
    known(
        "",
        &["org.apache.flume.sink.solr.morphline.BlobHandler"],
        &[int("maxBlobLength", 100_000_000, 1).unit("bytes")],
    ),
];

pub(super) const PATH_MANAGERS: &[Type] = &[
    known(
        "default",
        &["org.apache.flume.formatter.output.DefaultPathManager$Builder"],
        FILE_NAMES,
    ),
    known(
        "rolltime",
        &["org.apache.flume.formatter.output.RollTimePathManager$Builder"],
        FILE_NAMES,
    ),
];

const FILE_NAMES: &[Key] = &[text("prefix"), text("extension")];

pub(super) const CONFIG_FILTERS: &[Type] = &[
    known(
        "env",
        &["org.apache.flume.configfilter.EnvironmentVariableConfigFilter"],
        &[],
    ),
    known(
        "external",
        &["org.apache.flume.configfilter.ExternalProcessConfigFilter"],
        &[text("command").required(), text("charset").or("UTF-8")],
    ),
    known(
        "hadoop",
        &["org.apache.flume.configfilter.HadoopCredentialStoreConfigFilter"],
        &[
            text("credential.provider.path"),
            text("credstore.java-keystore-provider.password-file"),
        ],
    ),
];
