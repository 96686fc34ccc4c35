use std::sync::Arc;

use crate::tests::dice::{Dice, with_seeds};
use crate::tests::domain::Domain;
use crate::tests::live::Live;
use crate::tests::log::rig::{SMALL, moment};
use crate::{Disk, Simulated, Store, Survey};

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
