# Outlives the runner by a moment: when the runner ends without having cleaned up (kill -9), what it left is ended.
# Reads "+ SESSION" and "- SESSION" lines and one "folder PATH"; the end of input is the end of the runner.
trap '' HUP INT TERM
sessions=' '
folder=
while IFS= read -r line; do
    case $line in
    '+ '*) sessions="$sessions${line#+ } " ;;
    '- '*)
        session=${line#- }
        case $sessions in *" $session "*) sessions="${sessions%% "$session" *} ${sessions#* "$session" }" ;; esac
        ;;
    'folder '*) folder=${line#folder } ;;
    esac
done
round=0
while [ "$sessions" != ' ' ] && [ $round -lt 20 ]; do
    round=$((round + 1))
    again=
    for stat in /proc/[0-9]*/stat; do
        # Who ended after the list was made may have started somebody who isn't in it, so there is another look.
        IFS= read -r line <"$stat" || { again=1; continue; }
        # STATE PARENT GROUP SESSION, after a name in parentheses that may hold anything.
        # shellcheck disable=SC2086
        set -- ${line##*) }
        case $sessions in *" ${4:-none} "*) ;; *) continue ;; esac
        again=1
        [ "$1" != Z ] || continue
        pid=${stat#/proc/}
        kill -KILL "${pid%/stat}"
    done
    [ "$again" ] || break
done
case $folder in /*/tmplrun-*) rm -rf -- "$folder" ;; esac
