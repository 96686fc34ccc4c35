use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::tests::dice::{Dice, with_seeds};
use crate::tests::disk::Folder;
use crate::tests::domain::Domain;
use crate::tests::live::Live;
use crate::tests::log::rig::{SMALL, moment};
use crate::{Directory, Disk, Options, Room, Simulated, Store, Survey};

fn open(disk: &Simulated) -> Disk {
    Disk::open_unthreaded(SMALL, Arc::new(disk.clone()), moment()).unwrap().0
}

/// While a gateway writes, and cleans, looking finds what is there, changes nothing and sees no
/// damage.
#[test]
fn looking_does_not_disturb() {
    let disk = Simulated::new(1);
    let store = open(&disk);
    let (domain, dice) = (Domain::default(), &mut Dice(1));
    for _ in 0..100 {
        domain.act(dice, &mut Live(store.begin().unwrap()));
        store.clean(&domain);
        assert!(store.commit());
        let operations = disk.operations();
        let survey = Survey::of(&disk, moment()).unwrap();
        assert_eq!((disk.operations(), survey.torn), (operations, None));
        assert_eq!(survey.damaged, []);
        assert_eq!(survey.image.holds().count(), domain.state().holds());
    }
}

/// One wrong bit is one range, which has the bit in it.
#[test]
fn damage_is_found_where_it_is() {
    with_seeds(100, |seed| {
        let (disk, dice) = (Simulated::new(seed), &mut Dice(seed));
        let store = open(&disk);
        let domain = Domain::default();
        for _ in 0..60 {
            domain.act(dice, &mut Live(store.begin().unwrap()));
            assert!(store.commit());
        }
        drop(store);
        let whole = Survey::of(&disk, moment()).unwrap();
        assert_eq!(whole.damaged, []);
        let name = format!("{:08x}.log", 1);
        let offset = dice.below(disk.contents(&name).unwrap().len() - 200) as u64;
        disk.flip(&name, offset, dice.below(8) as u8);
        let survey = Survey::of(&disk, moment()).unwrap();
        let [damaged] = &survey.damaged[..] else { panic!("{:?}", survey.damaged) };
        assert_eq!(damaged.segment, 1);
        assert!(damaged.range.contains(&offset), "{offset} is not in {damaged}");
        assert!(survey.records + 1 >= whole.records && survey.used_bytes == whole.used_bytes);
    });
}

/// The same on real files, while others append, settle and clean as fast as they can.
#[test]
fn looking_at_a_busy_store_finds_no_damage() {
    let folder = Folder::new("busy");
    let options = Options { segment_bytes: 4096, bytes_max: 1 << 30, ..SMALL };
    let store = Disk::open(options, folder.open(), moment()).unwrap().0;
    let (domain, is_over) = (Domain::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dice = &mut Dice(1);
            while !is_over.load(Relaxed) {
                if store.room() == Room::Open {
                    domain.act(dice, &mut Live(store.begin().unwrap()));
                }
                if dice.one_in(50) {
                    domain.settle_all(1, &mut Live(store.begin().unwrap()));
                }
                store.clean(&domain);
            }
        });
        let files = Directory::look(&folder.0).unwrap();
        let is_enough = |count: &u32| *count > 40 && store.figures().bytes_cleaned > 20_000;
        let looks = (0..2_000)
            .take_while(|count| !is_enough(count))
            .map(|_| Survey::of(&files, moment()).map(|survey| survey.damaged));
        let found: Vec<_> =
            looks.filter(|found| !matches!(found, Ok(damaged) if damaged.is_empty())).collect();
        is_over.store(true, Relaxed);
        assert!(found.is_empty(), "{found:?}");
    });
    assert!(store.figures().bytes_cleaned > 20_000, "{:?}", store.figures());
}
