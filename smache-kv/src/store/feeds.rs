//! Epochs, positions and leaders: the state that confirms entries.

use std::time::Duration;

use bytes::Bytes;
use smache_core::{
    ATTACHED_VALID_FOR, Epoch, FeedId, FeedStep, Incarnation, Leadership, Position, Result, SourceId, SourceValidity,
    Timestamp, Token, Validity,
    protocol::{self, FeedView, FeedWrites, Leader, Leading},
    support::LATEST,
};

use crate::{
    codec::{Persisted, Reader, Writer},
    key_value::Access,
    keys::Role,
    step::Step,
};

impl Persisted for Leader {
    fn encode(&self) -> Bytes {
        Writer::new().raw(self.holder.as_bytes()).u64(self.fence).time(self.until).done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| {
            Some(Self { holder: Token::from_bytes(reader.array()?), fence: reader.u64()?, until: reader.time()? })
        })
        // No fence comes near it, so that the next one is a number too.
        .filter(|leader| leader.fence < LATEST)
    }
}

impl Persisted for Position {
    fn encode(&self) -> Bytes {
        Writer::new().bytes(&self.order).bytes(&self.token).done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| Some(Self { order: reader.bytes()?, token: reader.bytes()? }))
    }
}

impl Persisted for Validity {
    fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.raw(self.epoch.as_bytes()).count(self.sources.len());
        for (source, validity) in &self.sources {
            writer.bytes(source.as_str().as_bytes()).raw(validity.epoch.as_bytes());
            writer.option(validity.caught_up_on.as_ref(), |writer, caught_up_on| {
                writer.bytes(caught_up_on.as_str().as_bytes())
            });
            writer.option(validity.valid_until, |writer, valid_until| writer.time(valid_until));
        }
        writer.done()
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        Reader::read(bytes, |reader| {
            let mut validity = Self::new(Epoch::from_bytes(reader.array()?));
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
}

/// The leader entry whose end is until when the sources that the application reports are confirmed.
pub(super) const ATTACHED: &str = "smache:attached";

impl Step<'_> {
    /// The validity, with until when the sources that the application reports are confirmed.
    pub(super) async fn validity_with_attached(&mut self) -> Result<Validity> {
        let mut validity = self.validity().await?;
        let key = self.attached_key();
        let kept = self.decoded::<Leader>(key, "the validity of attached sources").await?;
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
        match self.decoded(key.clone(), "the validity").await? {
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
        self.put(self.keys().of(Role::Validity, &[]), validity.encode());
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
        let attached = protocol::attach(&validity, sources, &self.incarnation, Epoch::random);
        if !attached.is_empty() {
            validity.sources.extend(attached);
            self.put_validity(&validity);
            self.start_sweep();
        }
        self.keep_attached(ATTACHED_VALID_FOR).await
    }

    fn leader_key(&self, feed: &FeedId) -> Bytes {
        self.keys().of(Role::Leader, &[feed.as_str().as_bytes()])
    }

    async fn leader(&mut self, feed: &FeedId) -> Result<Option<Leader>> {
        self.decoded(self.leader_key(feed), "the leader of a feed").await
    }

    pub(super) async fn lead(&mut self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        let mut present = self.leader(feed).await?;
        if present.is_none() && self.get(&self.leader_key(feed)).await?.is_some() {
            // It was damaged. No fence is as large as the time.
            let fence = self.now.as_millis();
            present = Some(Leader { holder: Token::from_bytes([0; Token::LEN]), fence, until: Timestamp::default() });
        }
        let leading = protocol::lead(present.as_ref(), holder, lease, self.now);
        let leadership = leading.leadership();
        if let Leading::Leads(leader) = leading {
            self.put(self.leader_key(feed), leader.encode());
        }
        Ok(leadership)
    }

    pub(super) async fn resign(&mut self, feed: &FeedId, fence: u64) -> Result<()> {
        let present = self.leader(feed).await?;
        if let Some(leader) = protocol::resign(present.as_ref(), fence, self.now) {
            self.put(self.leader_key(feed), leader.encode());
        }
        Ok(())
    }

    fn position_key(&self, source: &SourceId) -> Bytes {
        self.keys().of(Role::Position, &[source.as_str().as_bytes()])
    }

    async fn position(&mut self, source: &SourceId) -> Result<Option<Position>> {
        self.decoded(self.position_key(source), "the position of a source").await
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
        self.put(self.position_key(source), position.encode());
    }

    pub(super) async fn restart(&mut self, step: &FeedStep) -> Result<()> {
        let leader = self.leader(&step.feed).await?;
        let validity = self.validity().await?;
        let revision = self.revision().await?;
        let writes = protocol::restart(&self.view(leader.as_ref(), &validity), step, revision, Epoch::random)?;
        self.write_step(step, validity, writes);
        self.start_sweep();
        Ok(())
    }

    pub(super) async fn check_step(&mut self, step: &FeedStep) -> Result<()> {
        step.check(self.leader(&step.feed).await?.map(|leader| leader.fence), &self.incarnation)
    }

    /// Saves the progress of a leader.
    pub(super) async fn save_step(&mut self, step: &FeedStep) -> Result<()> {
        let leader = self.leader(&step.feed).await?;
        let validity = self.validity().await?;
        let sources: Vec<SourceId> = step.positions.iter().map(|(source, _)| source.clone()).collect();
        let positions = self.positions(&sources).await?;
        let saved = |source: &SourceId| {
            let place = sources.iter().position(|known| known == source)?;
            positions.get(place)?.as_ref()
        };
        let writes = protocol::save(&self.view(leader.as_ref(), &validity), step, saved, Epoch::random)?;
        self.write_step(step, validity, writes);
        Ok(())
    }

    fn view<'a>(&'a self, leader: Option<&'a Leader>, validity: &'a Validity) -> FeedView<'a> {
        FeedView { now: self.now, incarnation: &self.incarnation, leader, validity }
    }

    fn write_step(&mut self, step: &FeedStep, mut validity: Validity, writes: FeedWrites) {
        if let Some(revision) = writes.revision {
            self.put_number(Role::Revision, revision);
        }
        self.put(self.leader_key(&step.feed), writes.leader.encode());
        for (source, position, confirmed) in writes.sources {
            self.put_position(&source, &position);
            validity.sources.insert(source, confirmed);
        }
        self.put_validity(&validity);
    }
}
