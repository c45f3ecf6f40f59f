//! A custom source: `cargo run --example custom_source`.
//!
//! Here it is a folder of price files. There is no feed, so the program reports changes itself, with `changed`.

#![expect(clippy::print_stdout, reason = "an example talks to people")]

use std::{fs, io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use smache::{
    Entity, Smache, SourceId,
    backend::{Capability, ChangeFeed, DataSource, EntityKey, EntityKind, Error, ErrorKind, Image, Topic},
    computed,
    memory::Memory,
};

#[derive(Clone, Entity)]
#[entity(source = "prices")]
struct Price {
    #[entity(id)]
    product: String,
    cents: u64,
}

#[derive(Debug)]
struct PriceFiles {
    id: SourceId,
    folder: PathBuf,
}

impl PriceFiles {
    fn read(&self, product: &str) -> Result<Option<Image>, Error> {
        let text = match fs::read_to_string(self.folder.join(product)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::new(ErrorKind::Unavailable, "a price file cannot be read").with_source(error));
            }
        };
        let cents = text.trim().parse().map_err(|error: std::num::ParseIntError| {
            Error::new(ErrorKind::Corrupt, format!("the price file `{product}` is not a number")).with_source(error)
        })?;
        Ok(Some(Image::new(Price { product: product.to_owned(), cents })))
    }
}

#[async_trait]
impl DataSource for PriceFiles {
    fn id(&self) -> &SourceId {
        &self.id
    }

    fn kind(&self) -> EntityKind {
        EntityKind::of::<Price>()
    }

    async fn load(&self, keys: &[EntityKey]) -> Result<Vec<Option<Image>>, Error> {
        keys.iter().map(|key| self.read(&key.decode::<String>()?)).collect()
    }

    async fn list(&self) -> Result<Vec<Image>, Error> {
        let unreadable =
            |error| Error::new(ErrorKind::Unavailable, "the price folder cannot be read").with_source(error);
        let names = fs::read_dir(&self.folder).map_err(unreadable)?.map(|file| file.map(|file| file.file_name()));
        let names = names.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        names.iter().filter_map(|name| self.read(&name.to_string_lossy()).transpose()).collect()
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::List]
    }

    fn feed(&self) -> Option<(Arc<dyn ChangeFeed>, Topic)> {
        None
    }
}

#[computed]
async fn label(price: Entity<Price>) -> String {
    format!("{}: {}.{:02} €", price.product, price.cents / 100, price.cents % 100)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("smache-prices-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("tea"), "350")?;

    let source = PriceFiles { id: SourceId::new("prices")?, folder: folder.clone() };
    let smache = Smache::builder("shop").backend(Memory::new()).source(source).register::<label>().build().await?;
    println!("{}", smache.get(label("tea")).await?);

    fs::write(folder.join("tea"), "395")?;
    smache.changed::<Price>(&"tea".to_owned()).await?;
    smache.run_until_idle().await?;
    let tea = smache.peek(label("tea")).await?.ok_or("a worker has computed it")?;
    println!("{tea}");
    assert_eq!(tea, "tea: 3.95 €".to_owned());

    fs::remove_dir_all(folder)?;
    Ok(())
}
