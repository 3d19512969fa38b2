# What a node has of GPUs, as its own tools print it; changes nothing. POSIX shell; sections as the model reads them.
look() {
    LC_ALL=C
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export LC_ALL PATH
    echo @machine
    uname -m
    if command -v nvidia-smi >/dev/null 2>&1; then
        fields=index,pci.bus_id,name,memory.total,mig.mode.current
        if listed=$(nvidia-smi --query-gpu="$fields" --format=csv,noheader,nounits 2>&1); then
            echo @nvidia-smi
            echo "$listed"
            echo @mig
            nvidia-smi mig -lci 2>&1
        else
            echo @nvidia-smi-error
            echo "$listed"
        fi
    fi
    echo @mig-minors
    if [ -r /proc/driver/nvidia-caps/mig-minors ]; then
        # Thousands of lines, of which those with a device file are of interest.
        while read -r name minor; do
            [ ! -e "/dev/nvidia-caps/nvidia-cap$minor" ] || echo "$name $minor"
        done </proc/driver/nvidia-caps/mig-minors
    fi
    echo @driver
    for folder in /proc/driver/nvidia/gpus/*; do
        [ -r "$folder/information" ] || continue
        model='' minor=''
        while IFS=: read -r key value; do
            value=${value#"${value%%[![:space:]]*}"}
            case $key in
            Model) model=$value ;;
            'Device Minor') minor=$value ;;
            esac
        done <"$folder/information"
        echo "${folder##*/}|$model|$minor"
    done
    echo @pci
    for device in /sys/bus/pci/devices/*; do
        [ -r "$device/class" ] || continue
        read -r vendor <"$device/vendor"
        read -r number <"$device/device"
        read -r class <"$device/class"
        echo "${device##*/} $vendor $number $class"
    done
    echo @devices
    for file in /dev/nvidia* /dev/nvidia-caps/*; do
        [ ! -c "$file" ] || echo "$file"
    done
    echo @end
}
look </dev/null
