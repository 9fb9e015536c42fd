//! Each key, misspelt by one letter in every way, is recognised.

use super::super::keys::{self, Role};

#[test]
fn each_key_with_one_letter_wrong_is_recognised() {
    for table in keys::ALL {
        for key in table.names() {
            for typo in typos(key) {
                if table.has(&typo) {
                    continue;
                }
                let advice = keys::advice(&typo, table, Role::Main);
                assert_eq!(advice, format!("did you mean {key:?}?"), "for {typo:?} in [{}]", table.table);
            }
        }
    }
}

#[test]
fn no_two_keys_of_a_table_are_one_letter_apart() {
    for table in keys::ALL {
        let names = table.names();
        for (index, one) in names.iter().enumerate() {
            for other in &names[index + 1..] {
                assert!(strsim::osa_distance(one, other) > 1, "{one} and {other} in [{}]", table.table);
            }
        }
    }
}

/// One letter left out, doubled, replaced, or two swapped.
fn typos(key: &str) -> Vec<String> {
    let letters: Vec<char> = key.chars().collect();
    let mut typos = Vec::new();
    for index in 0..letters.len() {
        let mut changed = |change: &dyn Fn(&mut Vec<char>)| {
            let mut copy = letters.clone();
            change(&mut copy);
            typos.push(copy.into_iter().collect::<String>());
        };
        changed(&|copy| {
            copy.remove(index);
        });
        changed(&|copy| copy.insert(index, copy[index]));
        changed(&|copy| copy[index] = 'q');
        if index > 0 {
            changed(&|copy| copy.swap(index - 1, index));
        }
    }
    typos.retain(|typo| typo != key);
    typos
}
