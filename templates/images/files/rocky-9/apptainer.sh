# Runs as root, last, in the image of every node that can run Apptainer, which EPEL has.

# `module load apptainer`: the modulefile is named after the version that was installed.
version=$(rpm -q --queryformat '%{VERSION}' apptainer)
mv /etc/lmod/modules/apptainer/packaged.lua "/etc/lmod/modules/apptainer/$version.lua"

systemctl enable container-devices.service
