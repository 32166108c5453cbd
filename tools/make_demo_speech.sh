#!/bin/sh
# Makes the speech of the demonstration from the scripts in service/cli/demo/world.toml.
#
# Needs Debian's espeak-ng and ffmpeg, and Python 3.11. Stereo calls have the agent left and the
# customer right. Files whose name is given as arguments are made again; all of them without any.
set -eu
cd "$(dirname "$0")/.."
world=service/cli/demo/world.toml
speech=service/cli/demo/speech
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$speech"

# One line for each turn: file, mono or stereo, side, variant, speed, pitch, text.
python3 - "$world" "$@" > "$work/turns" <<'PYTHON'
import sys, tomllib

with open(sys.argv[1], "rb") as file:
    world = tomllib.load(file)
for contact in world["contacts"]:
    recording = contact.get("recording")
    if recording is None or (sys.argv[2:] and recording["file"] not in sys.argv[2:]):
        continue
    layout = "stereo" if recording.get("is_stereo") else "mono"
    for turn in contact["script"].strip().splitlines():
        speaker, _, text = turn.partition(": ")
        voice = world["voices"][recording["voices"][("agent", "customer").index(speaker)]]
        how = (voice["variant"], voice["speed"], voice["pitch"])
        print(recording["file"], layout, speaker, *how, text, sep="\t")
PYTHON

number=0
while IFS="$(printf '\t')" read -r file layout speaker variant speed pitch text; do
    number=$((number + 1))
    espeak-ng -a 70 -v "fi+$variant" -s "$speed" -p "$pitch" -w "$work/line.wav" -- "$text" < /dev/null
    case $layout-$speaker in
        stereo-agent) place="pan=stereo|c0=c0|c1=0*c0" ;;
        stereo-customer) place="pan=stereo|c0=0*c0|c1=c0" ;;
        *) place="pan=mono|c0=c0" ;;
    esac
    # A breath between turns.
    turn=$(printf '%s/%04d.wav' "$work" "$number")
    ffmpeg -nostdin -v error -i "$work/line.wav" -af "apad=pad_dur=0.3,$place" -ar 16000 "$turn"
    printf "file '%s'\n" "$turn" >> "$work/$file.list"
done < "$work/turns"

for list in "$work"/*.list; do
    file=$(basename "$list" .list)
    case $file in
        *.wav) encoding="-ar 8000 -c:a pcm_alaw" ;;
        *) encoding="-c:a libopus -application voip -vbr on -compression_level 10" ;;
    esac
    layout=$(awk -F '\t' -v file="$file" '$1 == file { print $2; exit }' "$work/turns")
    case $file-$layout in
        # With more band width, or fewer bits, Opus joins the channels and each is heard on both.
        *.opus-stereo) encoding="$encoding -ar 8000 -b:a 20k" ;;
        *.opus-mono) encoding="$encoding -b:a 11k" ;;
    esac
    # $encoding is several words on purpose.
    ffmpeg -nostdin -v error -y -f concat -safe 0 -i "$list" $encoding \
        -map_metadata -1 -fflags +bitexact -flags:a +bitexact "$speech/$file"
    echo "$file $(wc -c < "$speech/$file") bytes," \
        "$(ffprobe -v error -show_entries format=duration -of csv=p=0 "$speech/$file") s"
done
