//! How long do the interceptors and selectors take that look at every event?
//!
//! Run it with `cargo bench -p node --bench interceptors` (about 5 s; without `--bench` among its arguments, as under
//! `cargo test --benches`, each is run once, which checks that it does what it should). One thread, batches of 1,000
//! events of 256 bytes, printed as events a second.

use node::component::interceptor::Interceptor;
use node::component::keys::Keys;
use node::component::selector::Selector;
use node::interceptor::{regex_extractor, regex_filter, search_replace, timestamp};
use node::selector::{load_balancing, multiplexing};
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVENTS: usize = 1_000;
const MEASURED: Duration = Duration::from_millis(500);

/// Lines of a log, half of them errors; of four states, one event after the other.
fn batch() -> Batch {
    let mut builder = BatchBuilder::new(EventLimits::default());
    for n in 0..EVENTS {
        let level = if n % 2 == 0 { "ERROR" } else { "INFO" };
        let mut line = format!(
            "2012-10-18 18:47:57,{:03} {level} [worker-{n}] order {n} of customer {n}: ",
            n % 1_000
        );
        while line.len() < 256 {
            line.push_str("some text ");
        }
        line.truncate(256);
        let state = ["CZ", "US", "DE", "FR"][n % 4];
        builder
            .push([("state", state)], line.as_bytes())
            .expect("it is small");
    }
    builder.finish()
}

fn measure(name: &str, thorough: bool, batch: &Batch, mut run: impl FnMut(Batch)) {
    run(batch.clone());
    if !thorough {
        return;
    }
    let (start, mut batches) = (Instant::now(), 0u32);
    while start.elapsed() < MEASURED {
        run(batch.clone());
        batches += 1;
    }
    let rate = f64::from(batches) * EVENTS as f64 / start.elapsed().as_secs_f64();
    println!("{name:<48} {:>8.2} M events/s", rate / 1e6);
}

fn intercepts(name: &str, thorough: bool, interceptor: &dyn Interceptor, left: usize) {
    measure(name, thorough, &batch(), |batch| {
        let batch = interceptor.intercept(batch).expect("nothing is refused");
        assert_eq!(batch.len(), left);
        black_box(batch);
    });
}

fn routes(name: &str, thorough: bool, selector: &dyn Selector) {
    measure(name, thorough, &batch(), |batch| {
        let routes = selector.route(batch).required;
        assert_eq!(routes.iter().map(|(_, batch)| batch.len()).sum::<usize>(), EVENTS);
        black_box(routes);
    });
}

fn main() {
    let thorough = std::env::args().any(|argument| argument == "--bench");
    let keys = |pairs: &[(&str, &str)]| Keys::of("source r1 (seq)", pairs);
    let filter = |regex: &str| {
        let config = regex_filter::Config::read(&mut keys(&[("regex", regex)]));
        config.build("r1".into()).expect("it is well configured")
    };
    for (regex, left) in [
        ("ERROR", 500),
        ("^[0-9].*$", 1_000),
        (r"\[worker-\d+\] order \d+", 1_000),
        (r"(?<=ERROR )\[worker-(\d+)\] order \1 ", 500),
    ] {
        intercepts(&format!("regex_filter {regex}"), thorough, &filter(regex), left);
    }
    let pairs = [
        ("searchPattern", r"customer (\d+)"),
        ("replaceString", "customer <$1>"),
    ];
    let replace = search_replace::Config::read(&mut keys(&pairs)).build("r1".into());
    intercepts(
        "search_replace",
        thorough,
        &replace.expect("it is well configured"),
        1_000,
    );
    let pairs = [
        ("regex", r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ (\w+)"),
        ("serializers", "s1 s2"),
        ("serializers.s1.name", "timestamp"),
        ("serializers.s1.pattern", "yyyy-MM-dd HH:mm:ss"),
        (
            "serializers.s1.type",
            "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer",
        ),
        ("serializers.s2.name", "level"),
    ];
    let extract =
        regex_extractor::Config::read(&mut keys(&pairs)).build("r1".into(), jiff::tz::TimeZone::UTC);
    let extract = extract.expect("it is well configured");
    intercepts("regex_extractor, a date and a word", thorough, &extract, 1_000);
    let clock = Arc::new(node::component::context::SystemClock::default());
    let stamp = timestamp::Config::read(&mut keys(&[])).build(clock);
    intercepts(
        "timestamp",
        thorough,
        &stamp.expect("it is well configured"),
        1_000,
    );
    let channels: Vec<Arc<str>> = ["c1", "c2", "c3"].map(Arc::from).to_vec();
    let pairs = [
        ("header", "state"),
        ("mapping.CZ", "c1"),
        ("mapping.US", "c2"),
        ("default", "c3"),
    ];
    let multiplex = multiplexing::Config::read(&mut keys(&pairs), &channels).build();
    routes(
        "multiplexing, three ways",
        thorough,
        &multiplex.expect("it is well configured"),
    );
    let balance = load_balancing::Config::read(&mut keys(&[]), 3).build();
    routes(
        "load_balancing, three channels",
        thorough,
        &balance.expect("it is well configured"),
    );
}
