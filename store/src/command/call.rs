//! One command while it runs: what it is given, and the short words in which handlers speak.

use crate::executor::Executor;
use crate::keyspace::{Cursor, Encoding, Handle, Payload, Place};
use crate::number::{Decimal, parse_integer};
use crate::server::client::{Client, Kind};
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, encode};

use super::failure::{Failure, NOT_INTEGER};

/// See the module.
pub struct Call<'a> {
    /// The node.
    pub node: &'a mut Executor,
    /// Who asked.
    pub client: &'a Client,
    /// The request; its number of arguments fits the command's arity.
    pub args: Args<'a>,
    /// The request's bytes, if they are its one canonical form; empty for an inline request.
    pub frame: &'a [u8],
    /// Where the reply goes.
    pub out: &'a mut Vec<u8>,
    /// The command, or subcommand.
    pub spec: &'static CommandSpec,
    /// Where the first key belongs, if the command has keys.
    pub first: Place,
    /// Where the first of its keys belong, the first one included, as far as that is known.
    pub places: &'a [Place],
}

impl<'a> Call<'a> {
    /// Argument `index`; the command's name is argument 0.
    #[inline]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.args.at(index)
    }

    /// Argument `index` as an integer.
    #[inline]
    pub fn integer(&self, index: usize) -> Result<i64, Failure> {
        parse_integer(self.arg(index)).ok_or(NOT_INTEGER)
    }

    /// True if argument `index` is this word in any case.
    #[inline]
    pub fn is_word(&self, index: usize, word: &str) -> bool {
        self.arg(index).eq_ignore_ascii_case(word.as_bytes())
    }

    // Looking up.

    /// The entry of a key that has not expired.
    #[inline]
    pub fn find(&mut self, place: Place, key: &[u8]) -> Option<Handle> {
        let handle = self.node.keyspace.find(place, key)?;
        match self.node.keyspace.expire_at(handle) {
            Some(at) if at < self.node.now_ms => self.find_expired(place, key, handle),
            _ => Some(handle),
        }
    }

    /// As [`Self::find`], for a command that reads the value: counts, and stamps the entry as used.
    #[inline]
    pub fn read(&mut self, place: Place, key: &[u8]) -> Option<Handle> {
        let found = self.look(place, key);
        if let Some(handle) = found
            && !self.client.no_touch.get()
        {
            self.node.keyspace.touch(handle);
        }
        found
    }

    /// As [`Self::read`], without the stamp.
    #[inline]
    pub fn look(&mut self, place: Place, key: &[u8]) -> Option<Handle> {
        let found = self.find(place, key);
        match found {
            Some(_) => self.node.stats.hits += 1,
            None => self.node.stats.misses += 1,
        }
        found
    }

    /// The string of an entry.
    #[inline]
    pub fn bytes(&self, handle: Handle) -> &[u8] {
        self.node.keyspace.bytes(handle)
    }

    /// Where the key number `nth` of the command belongs, counted from 0.
    #[inline]
    pub fn nth_place(&self, nth: usize, key: &[u8]) -> Place {
        self.places.get(nth).copied().unwrap_or_else(|| self.place(key))
    }

    /// Where a key belongs.
    #[inline]
    pub fn place(&self, key: &[u8]) -> Place {
        self.node.keyspace.place(key)
    }

    #[cold]
    fn find_expired(&mut self, place: Place, key: &[u8], handle: Handle) -> Option<Handle> {
        if self.node.is_replica() {
            // The primary's effects apply to what it has not deleted yet; all others see nothing.
            return (self.client.kind.get() == Kind::Primary).then_some(handle);
        }
        self.node.keyspace.remove(place, handle);
        self.node.stats.keys_expired += 1;
        self.effect_delete(place, key);
        None
    }

    // Changing.

    /// Sets a key, whatever it was.
    #[inline]
    pub fn put(
        &mut self,
        old: Option<Handle>,
        place: Place,
        key: &[u8],
        value: &[u8],
        encoding: Encoding,
        expire_at: Option<u64>,
    ) -> Result<(), Failure> {
        self.node.keyspace.put_over(old, place, key, Payload::Slice(value), encoding, expire_at)?;
        Ok(())
    }

    /// Removes a key that [`Self::find`] has found, with its effect.
    pub fn delete(&mut self, place: Place, key: &[u8], handle: Handle) {
        self.node.keyspace.remove(place, handle);
        self.effect_delete(place, key);
    }

    // Effects. Each speaks of one key, and does the same again whenever it is done.

    /// The command itself is its effect on this, its only key.
    #[inline]
    pub fn effect_same(&mut self, place: Place) {
        let (frame, args) = (self.frame, self.args);
        self.node.log.stage(Some(Cursor::of(place)), |out| {
            if frame.is_empty() { encode::request_args(out, args) } else { out.extend_from_slice(frame) }
        });
    }

    /// The effect is this command.
    #[inline]
    pub fn effect<W: AsRef<[u8]>>(&mut self, place: Place, words: &[W]) {
        self.node.log.stage(Some(Cursor::of(place)), |out| encode::request(out, words));
    }

    /// The effect is that the key is gone.
    pub fn effect_delete(&mut self, place: Place, key: &[u8]) {
        self.effect(place, &[&b"DEL"[..], key]);
    }

    /// The effect is that the key expires then.
    pub fn effect_expire(&mut self, place: Place, key: &[u8], at: u64) {
        let at = Decimal::unsigned(at);
        self.effect(place, &[b"PEXPIREAT", key, at.bytes()]);
    }

    /// The effect is that the key has this value and expiry.
    pub fn effect_set(&mut self, place: Place, key: &[u8], value: &[u8], expire_at: Option<u64>) {
        self.node.log.stage(Some(Cursor::of(place)), |out| {
            crate::replication::effects::set_effect(out, key, value, expire_at);
        });
    }

    // Replies.

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An integer.
    #[inline]
    pub fn reply_integer(&mut self, value: i64) {
        encode::integer(self.out, value);
    }

    /// A bulk string.
    #[inline]
    pub fn reply_bulk(&mut self, bytes: &[u8]) {
        encode::bulk(self.out, bytes);
    }

    /// The string of an entry.
    #[inline]
    pub fn reply_value(&mut self, handle: Handle) {
        encode::bulk(self.out, self.node.keyspace.bytes(handle));
    }

    /// Nothing.
    #[inline]
    pub fn reply_null(&mut self) {
        encode::null(self.out, self.client.resp3.get());
    }

    /// An array's head.
    pub fn reply_array(&mut self, count: usize) {
        encode::array_head(self.out, count);
    }

    /// An error once this command's reply is larger than what may wait for a client. `start` is where it
    /// begins. For commands whose reply may be many times as large as the data that it shows.
    #[inline]
    pub fn check_reply(&self, start: usize, more: usize) -> Result<(), Failure> {
        let max = self.node.spec.limits.output_bytes_max;
        if self.out.len() - start + more <= max {
            return Ok(());
        }
        Err(Failure::Made(format!(
            "ERR the reply would be larger than {max} bytes, the most that may wait for a client"
        )))
    }

    /// A map's head; in RESP2 that of an array of twice as many values.
    pub fn reply_map(&mut self, pairs: usize) {
        encode::map_head(self.out, pairs, self.client.resp3.get());
    }

    /// Text to be shown as it is: verbatim in RESP3, a bulk string in RESP2.
    pub fn reply_text(&mut self, text: &str) {
        if !self.client.resp3.get() {
            return self.reply_bulk(text.as_bytes());
        }
        let length = Decimal::unsigned(text.len() as u64 + 4);
        self.out.push(b'=');
        self.out.extend_from_slice(length.bytes());
        self.out.extend_from_slice(b"\r\ntxt:");
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// The lines of a HELP subcommand: simple strings, as Redis sends them.
    pub fn reply_help(&mut self, container: &str, lines: &[&str]) {
        self.reply_array(lines.len() + 3);
        encode::simple(
            self.out,
            &format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"),
        );
        for line in lines {
            encode::simple(self.out, line);
        }
        encode::simple(self.out, "HELP");
        encode::simple(self.out, "    Prints this help.");
    }
}
