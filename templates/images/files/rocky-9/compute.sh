# Runs as root, last, in the image of nodes that run jobs.

# slurmd starts once there is a controller to fetch the configuration from; a file of its own would keep it from asking.
systemctl disable slurmd.service
rm -f /etc/slurm/slurm.conf /etc/slurm/cgroup.conf
install -d -o root -g root -m 0755 /var/lib/slurm/slurmd
