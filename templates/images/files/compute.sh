# Runs as root, last, in the image of nodes that run jobs.

# slurmd starts once there is a controller to fetch the configuration from.
systemctl disable slurmd.service
install -d -o root -g root -m 0755 /var/lib/slurm/slurmd
