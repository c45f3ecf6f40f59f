//! Epochs, positions and leaders: the state that confirms entries.

use std::time::Duration;

use bytes::Bytes;
use smache_core::{
    ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Incarnation, Leadership, Position, Result, SourceId, SourceValidity,
    Timestamp, Token, Validity,
};

use crate::{
    codec::{Reader, Writer},
    key_value::Access,
    keys::Role,
    step::Step,
};

/// The leader of a feed.
struct Leader {
    holder: Token,
    fence: u64,
    until: Timestamp,
}

impl Leader {
    fn encode(&self) -> Bytes {
        Writer::new().raw(self.holder.as_bytes()).u64(self.fence).time(self.until).done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| {
            Some(Self { holder: Token::from_bytes(reader.array()?), fence: reader.u64()?, until: reader.time()? })
        })
    }
}

fn encode_validity(validity: &Validity) -> Bytes {
    let mut writer = Writer::new();
    writer.raw(validity.epoch.as_bytes()).count(validity.sources.len());
    for (source, validity) in &validity.sources {
        writer.bytes(source.as_str().as_bytes()).raw(validity.epoch.as_bytes());
        writer.option(validity.caught_up_on.as_ref(), |writer, caught_up_on| {
            writer.bytes(caught_up_on.as_str().as_bytes())
        });
        writer.option(validity.valid_until, |writer, valid_until| writer.time(valid_until));
    }
    writer.done()
}

fn decode_validity(bytes: &Bytes) -> Option<Validity> {
    Reader::read(bytes, |reader| {
        let mut validity = Validity::new(Epoch::from_bytes(reader.array()?));
        let sources = reader.list(|reader| {
            let source = SourceId::new(reader.text()?).ok()?;
            let epoch = Epoch::from_bytes(reader.array()?);
            let caught_up_on = reader.option(Reader::text)?.map(Incarnation::new);
            Some(match reader.option(Reader::time)? {
                Some(valid_until) => (source, SourceValidity::feed(epoch, caught_up_on, valid_until)),
                None => (source, SourceValidity::application(epoch, caught_up_on)),
            })
        })?;
        validity.sources.extend(sources);
        Some(validity)
    })
}

/// The leader entry whose end is until when the sources that the application reports are confirmed.
const ATTACHED: &str = "smache:attached";

impl Step<'_> {
    /// The validity, with until when the sources that the application reports are confirmed.
    pub(super) async fn validity_with_attached(&mut self) -> Result<Validity> {
        let mut validity = self.validity().await?;
        let key = self.attached_key();
        let kept = self.decoded(key, "the validity of attached sources", Leader::decode).await?;
        validity.attached_until = Some(kept.map_or_else(Timestamp::default, |kept| kept.until));
        Ok(validity)
    }

    /// The keys of the validity.
    pub(super) fn validity_keys(&self) -> [Bytes; 2] {
        [self.keys().of(Role::Validity, &[]), self.attached_key()]
    }

    fn attached_key(&self) -> Bytes {
        self.keys().of(Role::Leader, &[ATTACHED.as_bytes()])
    }

    pub(super) async fn keep_attached(&mut self, valid_for: Duration) -> Result<()> {
        let kept = Leader { holder: Token::from_bytes([0; Token::LEN]), fence: 0, until: self.now.after(valid_for) };
        self.put(self.attached_key(), kept.encode());
        Ok(())
    }

    /// The validity. A new namespace has an epoch of which there is no entry.
    pub(super) async fn validity(&mut self) -> Result<Validity> {
        let key = self.keys().of(Role::Validity, &[]);
        match self.decoded(key.clone(), "the validity", decode_validity).await? {
            Some(validity) => Ok(validity),
            None if self.access == Access::Read => Ok(Validity::new(Epoch::from_bytes([0; Epoch::LEN]))),
            None => {
                if self.get(&key).await?.is_some() {
                    // It was damaged: everything is of another epoch now, and its sources need a new `attach` and new
                    // leaders.
                    self.start_sweep();
                }
                let validity = Validity::new(Epoch::random());
                self.put_validity(&validity);
                Ok(validity)
            }
        }
    }

    fn put_validity(&mut self, validity: &Validity) {
        self.put(self.keys().of(Role::Validity, &[]), encode_validity(validity));
    }

    pub(super) async fn new_epoch(&mut self) -> Result<Epoch> {
        let mut validity = self.validity().await?;
        validity.epoch = Epoch::random();
        self.put_validity(&validity);
        self.start_sweep();
        Ok(validity.epoch)
    }

    pub(super) async fn attach(&mut self, sources: &[SourceId]) -> Result<()> {
        let mut validity = self.validity().await?;
        let mut changed = false;
        for source in sources {
            if validity.sources.get(source).is_some_and(|known| known.is_attached_on(&self.incarnation)) {
                continue;
            }
            let attached = SourceValidity::application(Epoch::random(), Some(self.incarnation.clone()));
            validity.sources.insert(source.clone(), attached);
            changed = true;
        }
        if changed {
            self.put_validity(&validity);
            self.start_sweep();
        }
        self.keep_attached(ATTACHED_VALID_FOR).await
    }

    fn leader_key(&self, feed: &FeedId) -> Bytes {
        self.keys().of(Role::Leader, &[feed.as_str().as_bytes()])
    }

    async fn leader(&mut self, feed: &FeedId) -> Result<Option<Leader>> {
        self.decoded(self.leader_key(feed), "the leader of a feed", Leader::decode).await
    }

    pub(super) async fn lead(&mut self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        let fence = match self.leader(feed).await? {
            // It was damaged. No fence is as large as the time.
            None if self.get(&self.leader_key(feed)).await?.is_some() => self.now.as_millis().max(1),
            None => 1,
            Some(leader) if leader.holder == holder => leader.fence,
            Some(leader) if leader.until > self.now => {
                return Ok(Leadership::Follower { retry_after: leader.until.since(self.now) });
            }
            Some(leader) => leader.fence + 1,
        };
        let leader = Leader { holder, fence, until: self.now.after(lease) };
        self.put(self.leader_key(feed), leader.encode());
        Ok(Leadership::Leader { fence })
    }

    pub(super) async fn resign(&mut self, feed: &FeedId, fence: u64) -> Result<()> {
        if let Some(leader) = self.leader(feed).await?.filter(|leader| leader.fence == fence) {
            let leader = Leader { until: leader.until.min(self.now), ..leader };
            self.put(self.leader_key(feed), leader.encode());
        }
        Ok(())
    }

    fn position_key(&self, source: &SourceId) -> Bytes {
        self.keys().of(Role::Position, &[source.as_str().as_bytes()])
    }

    async fn position(&mut self, source: &SourceId) -> Result<Option<Position>> {
        let decode = |bytes: &Bytes| {
            Reader::read(bytes, |reader| Some(Position { order: reader.bytes()?, token: reader.bytes()? }))
        };
        self.decoded(self.position_key(source), "the position of a source", decode).await
    }

    pub(super) async fn positions(&mut self, sources: &[SourceId]) -> Result<Vec<Option<Position>>> {
        let keys: Vec<Bytes> = sources.iter().map(|source| self.position_key(source)).collect();
        self.prefetch(keys).await?;
        let mut positions = Vec::with_capacity(sources.len());
        for source in sources {
            positions.push(self.position(source).await?);
        }
        Ok(positions)
    }

    fn put_position(&mut self, source: &SourceId, position: &Position) {
        let bytes = Writer::new().bytes(&position.order).bytes(&position.token).done();
        self.put(self.position_key(source), bytes);
    }

    pub(super) async fn restart(&mut self, step: &FeedStep) -> Result<()> {
        self.check_step(step).await?;
        self.renew(step).await?;
        let mut validity = self.validity().await?;
        for (source, position) in &step.positions {
            validity.sources.insert(source.clone(), SourceValidity::behind(Epoch::random()));
            self.put_position(source, position);
        }
        self.put_validity(&validity);
        self.start_sweep();
        Ok(())
    }

    pub(super) async fn check_step(&mut self, step: &FeedStep) -> Result<()> {
        step.check(self.leader(&step.feed).await?.map(|leader| leader.fence), &self.incarnation)
    }

    /// Saves the progress of a leader, after the check of the step.
    pub(super) async fn save_step(&mut self, step: &FeedStep) -> Result<()> {
        self.renew(step).await?;
        let mut validity = self.validity().await?;
        for (source, position) in &step.positions {
            if self.position(source).await?.is_some_and(|saved| !position.follows(&saved)) {
                continue;
            }
            self.put_position(source, position);
            let behind = || SourceValidity::behind(Epoch::random());
            let validity = validity.sources.entry(source.clone()).or_insert_with(behind);
            validity.advance(step, &self.incarnation, self.now);
        }
        self.put_validity(&validity);
        Ok(())
    }

    async fn renew(&mut self, step: &FeedStep) -> Result<()> {
        if let Some(leader) = self.leader(&step.feed).await? {
            let leader = Leader { until: self.now.after(step.leadership), ..leader };
            self.put(self.leader_key(&step.feed), leader.encode());
        }
        Ok(())
    }
}
