#!/bin/sh
# Makes the recordings in this directory: two speakers, the agent left, the customer right.
# Needs espeak-ng and ffmpeg, as Debian packages them.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
espeak-ng -v fi+m3 -s 175 -w "$work/agent.wav" "Esimerkki Sähkö, hyvää päivää."
espeak-ng -v fi+f2 -s 165 -w "$work/customer.wav" "Päivää, soitan laskusta."
ffmpeg -v error -y -i "$work/agent.wav" -i "$work/customer.wav" -filter_complex \
    "[0]apad=whole_dur=4.5[a];[1]adelay=2300,apad=whole_dur=4.5[b];[a][b]join=inputs=2" \
    -t 4.5 -ar 8000 -ac 2 "$work/call.wav"
encode() {
    ffmpeg -v error -y -i "$work/call.wav" -map_metadata -1 -fflags +bitexact -flags:a +bitexact "$@"
}
encode -c:a libopus -b:a 24k -application voip call.opus
encode -c:a libopus -b:a 24k -application voip call.webm
encode -c:a libvorbis -q:a 0 call.ogg
encode -c:a libmp3lame -b:a 24k call.mp3
encode -c:a aac -b:a 24k -ar 16000 call.m4a
encode -c:a aac -b:a 24k -ar 16000 -f adts call.aac
encode -c:a flac call.flac
encode -c:a pcm_alaw call-alaw.wav
encode -c:a adpcm_ima_wav call-adpcm.wav
encode -ac 1 -c:a libgsm_ms call-gsm.wav
encode -ac 1 -c:a libgsm call.gsm
encode -ac 1 -ar 16000 -c:a g722 -f g722 call.g722
encode -ac 1 -c:a libspeex call.spx
encode -ac 1 -f mulaw call.ul
