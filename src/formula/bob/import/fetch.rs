//! The commands that fetch something: curl and wget.

use super::super::super::url::file_name;
use super::Followed;
use super::values::shown;

/// The URL that is fetched, and the file it is written to if that is said.
pub(super) fn fetched(words: &[String]) -> Followed<(String, Option<String>)> {
    let program = words.first().map_or("", String::as_str);
    let curl = match program {
        "curl" => true,
        "wget" => false,
        _ => return Err(format!("a pipe out of {} is not followed", shown(program))),
    };
    let (mut url, mut file, mut own_name) = (None, None, !curl);
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-o" if curl => file = rest.next().cloned(),
            "-O" if curl => own_name = true,
            "-O" | "-qO" => file = rest.next().cloned(),
            "-qO-" | "-O-" if !curl => own_name = false,
            "--retry" | "--max-time" | "--connect-timeout" => drop(rest.next()),
            "--fail" | "--silent" | "--show-error" | "--location" | "-q" | "--quiet" => {}
            flags
                if curl
                    && flags.starts_with('-')
                    && flags[1..].chars().all(|c| "fsSLO#v".contains(c)) =>
            {
                own_name |= flags.contains('O');
            }
            flags if flags.starts_with('-') => {
                return Err(format!("`{program} {}` is not followed", shown(flags)));
            }
            _ if url.is_some() => return Err("it fetches more than one thing".to_owned()),
            word => url = Some(word.to_owned()),
        }
    }
    let url = url.ok_or_else(|| format!("`{program}` fetches nothing"))?;
    let file = file.filter(|file| file != "-");
    let own = own_name
        .then(|| file_name(&url).map(str::to_owned))
        .flatten();
    Ok((url, file.or(own)))
}
