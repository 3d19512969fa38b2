#!/bin/sh
# Stands for NVIDIA's nvidia-smi on a pretended machine: answers from the files beside it, and refuses what that one refuses, in its words.
# Nothing but the shell itself is needed.
have=${0%/*}/nvidia-smi.d
tell() { while IFS= read -r line; do echo "$line"; done <"$have/$1"; }

if [ -e "$have/error" ]; then
    tell error
    exit 9
fi
case "$#:$*" in
"2:mig -lci")
    tell mig
    # Its status where there are none, or where no GPU can have any.
    ! read -r line <"$have/mig" || [ "${line#No }" = "$line" ] || exit 6
    ;;
"2:--query-gpu="*" --format=csv,noheader,nounits")
    read -r known <"$have/fields"
    IFS=,
    # All fields are looked at before anything is printed.
    for field in ${1#*=}; do
        case ",$known," in
        *",$field,"*) ;;
        *)
            printf 'Field "%s" is not a valid field to query.\n\n' "$field"
            exit 2
            ;;
        esac
    done
    while read -r index bus name memory mig; do
        row=
        for field in ${1#*=}; do
            case $field in
            index) value=$index ;;
            pci.bus_id | gpu_bus_id) value=$bus ;;
            name | gpu_name) value=$name ;;
            memory.total) value=$memory ;;
            mig.mode.current) value=$mig ;;
            esac
            row="$row${row:+, }$value"
        done
        echo "$row"
    done <"$have/gpus"
    ;;
*)
    echo "ERROR: Option $1 is not recognized. Please run 'nvidia-smi -h'."
    exit 2
    ;;
esac
