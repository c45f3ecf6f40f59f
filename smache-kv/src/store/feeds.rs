//! What vouches: epochs, positions, leases and leaders.

use std::time::Duration;

use bytes::Bytes;
use smache_core::{
    ATTACHED_LEASE, Epoch, Error, ErrorKind, FeedId, FeedStep, Incarnation, Leadership, Position, Result, SourceId,
    SourceVouch, Timestamp, Token, Vouch,
};

use crate::{
    codec::{Reader, Writer},
    key_value::Access,
    keys::Role,
    step::Step,
};

/// Who leads a feed.
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

fn encode_vouch(vouch: &Vouch) -> Bytes {
    let mut writer = Writer::new();
    writer.raw(vouch.epoch.as_bytes()).count(vouch.sources.len());
    for (source, vouch) in &vouch.sources {
        writer.bytes(source.as_str().as_bytes()).raw(vouch.epoch.as_bytes());
        writer.option(vouch.armed.as_ref(), |writer, armed| writer.bytes(armed.as_str().as_bytes()));
        writer.option(vouch.lease, |writer, lease| writer.time(lease));
    }
    writer.done()
}

fn decode_vouch(bytes: &Bytes) -> Option<Vouch> {
    Reader::read(bytes, |reader| {
        let mut vouch = Vouch::new(Epoch::from_bytes(reader.array()?));
        let sources = reader.list(|reader| {
            let (source, epoch) = (SourceId::new(reader.text()?).ok()?, Epoch::from_bytes(reader.array()?));
            let armed = reader.option(Reader::text)?.map(Incarnation::new);
            Some(match reader.option(Reader::time)? {
                Some(lease) => (source, SourceVouch::feed(epoch, armed, lease)),
                None => (source, SourceVouch::application(epoch, armed)),
            })
        })?;
        vouch.sources.extend(sources);
        Some(vouch)
    })
}

/// Its lease is that of the sources that the application reports.
const ATTACHED: &str = "smache:attached";

impl Step<'_> {
    /// What vouches, with the lease of the sources that the application reports.
    pub(super) async fn vouch_with_lease(&mut self) -> Result<Vouch> {
        let mut vouch = self.vouch().await?;
        let key = self.attached_key();
        let kept = self.decoded(key, "the lease of attached sources", Leader::decode).await?;
        vouch.attached_until = Some(kept.map_or_else(Timestamp::default, |kept| kept.until));
        Ok(vouch)
    }

    /// What is read of what vouches.
    pub(super) fn vouch_keys(&self) -> [Bytes; 2] {
        [self.keys().of(Role::Vouch, &[]), self.attached_key()]
    }

    fn attached_key(&self) -> Bytes {
        self.keys().of(Role::Leader, &[ATTACHED.as_bytes()])
    }

    pub(super) async fn keep_attached(&mut self, lease: Duration) -> Result<()> {
        let kept = Leader { holder: Token::from_bytes([0; Token::LEN]), fence: 0, until: self.now.after(lease) };
        self.put(self.attached_key(), kept.encode());
        Ok(())
    }

    /// What vouches. A namespace that nobody has written to has an epoch that no entry is of.
    pub(super) async fn vouch(&mut self) -> Result<Vouch> {
        let key = self.keys().of(Role::Vouch, &[]);
        match self.decoded(key.clone(), "what vouches", decode_vouch).await? {
            Some(vouch) => Ok(vouch),
            None if self.access == Access::Read => Ok(Vouch::new(Epoch::from_bytes([0; Epoch::LEN]))),
            None => {
                if self.get(&key).await?.is_some() {
                    // It was damaged: everything is of another epoch now, and its sources are attached and led again.
                    self.start_sweep();
                }
                let vouch = Vouch::new(Epoch::random());
                self.put_vouch(&vouch);
                Ok(vouch)
            }
        }
    }

    fn put_vouch(&mut self, vouch: &Vouch) {
        self.put(self.keys().of(Role::Vouch, &[]), encode_vouch(vouch));
    }

    pub(super) async fn new_epoch(&mut self) -> Result<Epoch> {
        let mut vouch = self.vouch().await?;
        vouch.epoch = Epoch::random();
        self.put_vouch(&vouch);
        self.start_sweep();
        Ok(vouch.epoch)
    }

    pub(super) async fn attach(&mut self, sources: &[SourceId]) -> Result<()> {
        let mut vouch = self.vouch().await?;
        let here =
            |vouch: &SourceVouch, incarnation| vouch.lease.is_none() && vouch.armed.as_ref() == Some(incarnation);
        let mut changed = false;
        for source in sources {
            if vouch.sources.get(source).is_some_and(|vouch| here(vouch, &self.incarnation)) {
                continue;
            }
            let attached = SourceVouch::application(Epoch::random(), Some(self.incarnation.clone()));
            vouch.sources.insert(source.clone(), attached);
            changed = true;
        }
        if changed {
            self.put_vouch(&vouch);
            self.start_sweep();
        }
        self.keep_attached(ATTACHED_LEASE).await
    }

    fn leader_key(&self, feed: &FeedId) -> Bytes {
        self.keys().of(Role::Leader, &[feed.as_str().as_bytes()])
    }

    async fn leader(&mut self, feed: &FeedId) -> Result<Option<Leader>> {
        self.decoded(self.leader_key(feed), "the leader of a feed", Leader::decode).await
    }

    pub(super) async fn lead(&mut self, feed: &FeedId, holder: Token, lease: Duration) -> Result<Leadership> {
        let fence = match self.leader(feed).await? {
            // It was damaged. Nobody has counted as far as the time.
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
        let mut vouch = self.vouch().await?;
        for (source, position) in &step.positions {
            vouch.sources.insert(source.clone(), SourceVouch::unarmed(Epoch::random()));
            self.put_position(source, position);
        }
        self.put_vouch(&vouch);
        self.start_sweep();
        Ok(())
    }

    pub(super) async fn check_step(&mut self, step: &FeedStep) -> Result<()> {
        if self.leader(&step.feed).await?.is_none_or(|leader| leader.fence != step.fence) {
            let message = "a newer leader of the feed exists: this one stops";
            return Err(Error::new(ErrorKind::Fenced, message).with_context("feed", &step.feed));
        }
        if step.incarnation != self.incarnation {
            let message =
                "the store is another incarnation than the leader of the feed knows: start again from its positions";
            return Err(Error::new(ErrorKind::IncarnationChanged, message).with_context("feed", &step.feed));
        }
        Ok(())
    }

    /// Saves the progress of a leader; the step was checked.
    pub(super) async fn save_step(&mut self, step: &FeedStep) -> Result<()> {
        self.renew(step).await?;
        let mut vouch = self.vouch().await?;
        for (source, position) in &step.positions {
            if self.position(source).await?.is_some_and(|saved| !position.follows(&saved)) {
                continue;
            }
            self.put_position(source, position);
            let unarmed = || SourceVouch::unarmed(Epoch::random());
            let vouch = vouch.sources.entry(source.clone()).or_insert_with(unarmed);
            if let (Some(lease), Some(until)) = (&mut vouch.lease, step.valid_until(self.now)) {
                *lease = until;
            }
            if step.arm {
                vouch.armed = Some(self.incarnation.clone());
            }
        }
        self.put_vouch(&vouch);
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
