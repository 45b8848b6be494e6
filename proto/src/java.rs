//! Orders that Flume's users see because Java's `HashMap` and `HashSet` iterate that way.
//!
//! The logger sink prints headers, and a sink group visits its sinks, in hash order
//! (`flume/channels-and-sinks.md` 1.2): bucket = (h ^ h >>> 16) & (n - 1) with `String.hashCode`, buckets
//! ascending, insertion order inside one.

/// `java.lang.String.hashCode`: 31 h + UTF-16 unit, wrapping at 32 bits.
pub fn string_hash(text: &str) -> u32 {
    text.encode_utf16()
        .fold(0u32, |h, unit| h.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

/// Sorts items as a `HashMap` that was filled by insertion would iterate over them.
pub fn sort_in_hash_order<T>(items: &mut [T], key: impl Fn(&T) -> &str) {
    let buckets = table_size(items.len());
    sort(items, buckets, key);
}

/// Sorts items as a `HashSet` made of a list (with room for 4/3 of it and one) would iterate over them.
pub fn sort_in_hash_set_order<T>(items: &mut [T], key: impl Fn(&T) -> &str) {
    let room = u32::try_from(items.len() * 4 / 3 + 1).unwrap_or(1 << 30);
    sort(items, room.clamp(16, 1 << 30).next_power_of_two(), key);
}

fn sort<T>(items: &mut [T], buckets: u32, key: impl Fn(&T) -> &str) {
    items.sort_by_key(|item| {
        let h = string_hash(key(item));
        (h ^ (h >> 16)) & (buckets - 1)
    });
}

/// Smallest power of two, at least 16, whose load factor of 0.75 is not exceeded by `count` entries.
fn table_size(count: usize) -> u32 {
    let mut size = 16u32;
    while count as u64 * 4 > u64::from(size) * 3 {
        size *= 2;
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &str, expected: &str) {
        let mut items: Vec<&str> = names.split(' ').collect();
        sort_in_hash_order(&mut items, |s| s);
        assert_eq!(items.join(" "), expected);
    }

    #[test]
    fn sinks_come_in_the_order_seen_in_java() {
        check("sinkA sinkB sinkC", "sinkC sinkB sinkA");
        check("hdfs1 hdfs2 logger avro1 avro2", "hdfs1 hdfs2 avro1 logger avro2");
        check("k1 k2 k3", "k1 k2 k3");
        check("s1 s2 s3 s4", "s3 s4 s1 s2");
        check("k1 k2 k3 k4 k5 k6 k7 k8 k9 k10", "k1 k2 k3 k4 k5 k6 k10 k7 k8 k9");
        check("primary secondary", "secondary primary");
    }
}
